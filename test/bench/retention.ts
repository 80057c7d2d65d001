/** What it costs those who append that something is archived meanwhile, and that a hash chain is kept. */
import { Effect, Layer, Redacted, Result } from "effect"
import { PgClient } from "@effect/sql-pg"
import { Event, EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { type ChildProcess, fork } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { layerWith } from "./adapter.ts"
import { callersText } from "./contest.ts"
import { type Case, collectGarbage, concurrently, during, type Run, type Span } from "./harness.ts"
import type { Address, Lab, Services } from "./lab.ts"
import { deposited, MoneyDeposited } from "./model.ts"

/** What another process is asked to archive: see `archiver.ts`. Without a category it sleeps. */
export interface Archiving {
  readonly address: Address
  readonly category: string
  readonly directory: string
}

const event = (nth: number) => Result.getOrThrow(Event.encode(MoneyDeposited, deposited(nth)))

const perStream = 10
const atOnce = 1000

/** What is closed, and may go. */
const seed = (category: string, events: number) =>
  Effect.forEach(
    Array.from({ length: events / atOnce }, (_, page) => page * atOnce),
    (from) =>
      EventStore.appendAll(
        Array.from({ length: atOnce / perStream }, (_, part) => ({
          stream: `${category}-${from / perStream + part}`,
          events: Array.from({ length: perStream }, (_, nth) => event(nth))
        }))
      ),
    { discard: true }
  )

const answer = <A>(child: ChildProcess, question: object | string): Effect.Effect<A, Error> =>
  Effect.callback((resume) => {
    const onExit = (code: number | null) => resume(Effect.fail(new Error(`the process that archives ended with code ${code}`)))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      resume(Effect.succeed(message as A))
    })
    child.send(question)
  })

const archiver = Effect.acquireRelease(
  Effect.sync(() => fork(fileURLToPath(new URL("archiver.ts", import.meta.url)), { execArgv: process.execArgv })),
  (child) => Effect.sync(() => child.kill())
)

const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-bench-archive-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

/** Callers that append, beside a process that archives what is old, or one that sleeps. */
const besideArchive =
  (what: "archiving" | "sleeping", events: number, callers: number, span: Span): Run =>
  ({ address, store }) =>
    Effect.gen(function* () {
      yield* seed("Old", events)
      const child = yield* archiver
      const category = what === "archiving" ? "Old" : ""
      yield* answer(child, { address, category, directory: yield* directory } satisfies Archiving)
      yield* collectGarbage
      let appended = 0
      const measured = yield* during(callers, span, (caller, nth) =>
        Effect.map(EventStore.append(`Account-${caller}-${Math.floor(nth / 50)}`, [event(nth)]), () => appended++)
      )
      const { removed, running } = yield* answer<{ readonly removed?: number; readonly running?: boolean }>(child, "how far?")
      if (what === "archiving" && running !== true) {
        return yield* Effect.fail(new Error(`the archive was over before the appends: ${removed} of ${events} events`))
      }
      return { ...measured, events: events + appended }
    }).pipe(Effect.provide(store))

const chained = ({ schema, url }: Address): Layer.Layer<Services, unknown> =>
  Layer.fresh(
    layerWith(PgEventStore)({ schema, chain: true }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 }))
    )
  )

/** Callers that append to a store with a hash chain, or without one. */
const chaining =
  (how: "plain" | "chained", callers: number, times: number): Run =>
  (lab: Lab) =>
    Effect.gen(function* () {
      const append = (phase: string) => (caller: number, nth: number) =>
        EventStore.append(`Account-${phase}-${caller}-${Math.floor(nth / 50)}`, [event(nth)])
      const warm = Math.ceil(times / 5)
      yield* concurrently(callers, warm, append("warm"))
      yield* collectGarbage
      const measured = yield* concurrently(callers, times, append("run"))
      return { ...measured, units: callers * times, events: callers * (times + warm) }
    }).pipe(Effect.provide(how === "plain" ? lab.store : chained(lab.address)))

/** The cases; `scale` shortens runs and logs. */
export const retentionCases = (scale: number, some: (count: number) => number): ReadonlyArray<Case> => {
  const span = { warmUp: 500 * scale, millis: 2500 * scale }
  // Some seconds more than what is archived at most while it is measured, for machines that are busy.
  const events = Math.ceil((500 * 3 * scale + 25_000) / atOnce) * atOnce
  const archive = (what: "archiving" | "sleeping", callers: number): Case => ({
    name: `retention: appends, ${callersText(callers)}, ${what === "archiving" ? "beside a running archive" : "alone"}`,
    place: "postgres",
    unit: "appends",
    ours: besideArchive(what, events, callers, span),
    group: `retention: appends, ${callersText(callers)}`,
    ...(what === "archiving" ? { base: `retention: appends, ${callersText(callers)}, alone` } : {})
  })
  const chain = (how: "plain" | "chained", callers: number, times: number): Case => ({
    name: `hash chain: append, ${callersText(callers)}, ${how}`,
    place: "postgres",
    unit: "appends",
    ours: chaining(how, callers, times),
    group: `hash chain: append, ${callersText(callers)}`,
    ...(how === "chained" ? { base: `hash chain: append, ${callersText(callers)}, plain` } : {})
  })
  return [
    ...[16, 256].flatMap((callers) => [archive("sleeping", callers), archive("archiving", callers)]),
    chain("plain", 256, some(100)),
    chain("chained", 256, some(100)),
    chain("plain", 1, some(2000)),
    chain("chained", 1, some(2000))
  ]
}
