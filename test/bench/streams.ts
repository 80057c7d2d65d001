import { Context, Effect, Layer, Result } from "effect"
import { Event, EventStore, Repository, UnitOfWork } from "eventfold"
import { deedsOf, type Kind, perStream } from "./accounts.ts"
import { callersText, contest, type Contestant } from "./contest.ts"
import { type Case } from "./harness.ts"
import { serverStore } from "./lab.ts"
import { Account, deposited, MoneyDeposited } from "./model.ts"
import { emmett } from "./peers/emmett.ts"

const address = (url: string) => ({ url, schema: "eventfold" })

const ours: Contestant<Kind> = {
  name: "eventfold-streams",
  fill: (url, events) =>
    Effect.forEach(
      Array.from({ length: events / perStream }, (_, account) => account),
      (account) =>
        EventStore.append(
          `Account-${account}`,
          Array.from({ length: perStream }, (_, nth) => Result.getOrThrow(Event.encode(MoneyDeposited, deposited(nth))))
        ),
      { concurrency: 256, discard: true }
    ).pipe(Effect.provide(serverStore(address(url)))),
  open: (url, setting) =>
    Effect.gen(function* () {
      const services = yield* Layer.build(UnitOfWork.layer.pipe(Layer.provideMerge(serverStore(address(url)))))
      const accounts = {
        append: (account: string) =>
          Repository.append(Account, account, [deposited(1)]).pipe(Effect.as(true), Effect.provideContext(services)),
        deposit: (account: string) =>
          Repository.execute(Account, account, ({ balance }) => Effect.succeed([deposited(balance)])).pipe(
            UnitOfWork.transact,
            Effect.as(true),
            Effect.catchTag("OptimisticLockError", () => Effect.succeed(false)),
            Effect.provideContext(services)
          )
      }
      return { deeds: deedsOf(accounts, setting), count: Context.get(services, EventStore.EventStore).head }
    })
}

const kinds: Readonly<Record<Kind, string>> = { append: "append of one event", command: "load and decide" }

/** The cases of streams beside another store that has them; `scale` shortens runs and logs. */
export const streamCases = (scale: number): ReadonlyArray<Case> =>
  [1, 16, 256].flatMap((callers) =>
    (Object.keys(kinds) as ReadonlyArray<Kind>).map((kind) => {
      const work = { kind, callers, events: 100_000 * scale, span: { warmUp: 300 * scale, millis: 700 * scale } }
      return {
        name: `streams: ${kinds[kind]}, ${callersText(callers)}`,
        place: "databases",
        unit: kind === "append" ? "appends" : "decisions",
        ours: contest(ours, work),
        peers: { emmett: contest(emmett, work) },
        group: "streams",
        chart: { title: `Streams: ${kinds[kind]}, by callers`, x: ["callers", callers] }
      } satisfies Case
    })
  )
