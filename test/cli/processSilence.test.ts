/** The command line as a process, where whoever it asks falls silent: it ends, and says what is known. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { EventStore, ParkedEvents } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { once } from "node:events"
import { inject } from "vitest"
import { freshSchema } from "../postgres/support.ts"
import { startChild, until } from "../support/child.ts"
import { type Ended, eventfold, started } from "./running.ts"

const ended = (promise: Promise<Ended>) =>
  Effect.timeout(
    Effect.promise(() => promise),
    "40 seconds"
  )

/** A program that serves its operations, and has parked an event of which a retry takes so many milliseconds. */
const served = Effect.fnUntraced(function* (slow: number) {
  const program = yield* startChild(new URL("./processes/served.ts", import.meta.url), { slow })
  const address = () => program.lines.find((line) => line.startsWith("http"))
  yield* until(
    "it is served",
    Effect.sync(() => address() !== undefined)
  )
  return { program, url: address() ?? "" }
})

const retry = (url: string, timeout: string) => started(["parked", "retry", url, "mails", "1", "--timeout", timeout, "--json"])

/** Waits until it has heard that the act was taken. */
const hasHeard = ({ text }: Effect.Success<ReturnType<typeof retry>>) =>
  until(
    "it was taken",
    Effect.sync(() => text.out.includes("Taken"))
  )

const taken =
  /^The act [0-9a-f-]{36} was taken by [0-9a-f-]{36}, and may have been done, or be done yet \((.+)\)\. Its record tells: eventfold read \S+ '\$operations' --backward$/

/** Why nobody knows more of an act that was taken. */
const reasonIn = ({ code, err }: Ended) => {
  const { error } = JSON.parse(err) as { readonly error: { readonly message: string } }
  assert.equal(code, 4)
  return taken.exec(error.message)?.[1] ?? error.message
}

describe("an act", () => {
  it.live("whose program freezes when it has taken it ends, and may have been done", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(60_000)
      const acting = yield* retry(url, "2s")
      yield* hasHeard(acting)
      program.process.kill("SIGSTOP")
      assert.match(reasonIn(yield* ended(acting.ended)), /^No answer from http\S+ within 2s: see --timeout$/)
    })
  )

  it.live("whose program is killed when it has taken it may have been done", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(60_000)
      const acting = yield* retry(url, "20s")
      yield* hasHeard(acting)
      yield* program.kill
      assert.match(reasonIn(yield* ended(acting.ended)), /^The answer broke off \(.+\): does the program still run/)
    })
  )

  it.live("that takes long is waited for while whoever does it lives", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(3000)
      const { code, err, out } = yield* Effect.flatMap(retry(url, "1s"), (acting) => ended(acting.ended))
      assert.deepEqual([code, err], [0, ""])
      assert.match(out, /"Done".*"handled"/)
      yield* program.end
    })
  )

  it.live("that was asked for by way of the database ends where the process that has taken it freezes", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const url = new URL(inject("postgresUrl"))
      const worker = yield* startChild(new URL("../operate/processes/follower.ts", import.meta.url), {
        schema,
        url: url.href,
        slow: 60_000
      })
      yield* worker.says("live")
      const services = ParkedEvents.layerSql.pipe(
        Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false })),
        Layer.provide(PgClient.layer({ url: Redacted.make(url.href), maxConnections: 2 }))
      )
      const isParked = ParkedEvents.ParkedEvents.use(({ counts }) => Effect.map(counts, (all) => all.has("mails")))
      yield* Effect.provide(
        Effect.andThen(EventStore.append("Order-1", [{ type: "Broken", payload: {} }]), until("it is parked", isParked)),
        services
      )
      url.searchParams.set("schema", schema)
      const acting = yield* retry(url.href, "3s")
      yield* hasHeard(acting)
      worker.process.kill("SIGSTOP")
      assert.equal(reasonIn(yield* ended(acting.ended)), "The process that took it is not heard of any more")
      const listed = yield* eventfold(["parked", "list", url.href])
      assert.match(listed.out, /Broken/)
    })
  )
})

describe("what may be silent for ever", () => {
  it.live("ends where whoever is asked freezes", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(0)
      const watching = [
        yield* started(["tail", "-f", url, "--timeout", "1s"]),
        yield* started(["followers", "--watch", url, "--timeout", "1s"])
      ]
      for (const { child } of watching) yield* Effect.promise(() => once(child.stdout, "data"))
      program.process.kill("SIGSTOP")
      for (const { ended: end } of watching) {
        const { code, err } = yield* ended(end)
        assert.equal(code, 4)
        assert.match(err, /^eventfold: no answer from http\S+ within 1s: see --timeout\.\n$/)
      }
    })
  )

  it.live("ends for an agent each question that nobody answers", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(0)
      const agent = yield* started(["mcp", url, "--timeout", "1s"])
      const send = (message: object) => agent.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
      const answered = (id: number) =>
        until(
          `${id} is answered`,
          Effect.sync(() => agent.text.out.includes(`"id":${id},`))
        )
      const clientInfo = { name: "test", version: "1" }
      send({ id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo } })
      yield* answered(1)
      send({ method: "notifications/initialized" })
      program.process.kill("SIGSTOP")
      send({ id: 2, method: "tools/call", params: { name: "list_followers", arguments: {} } })
      yield* answered(2)
      assert.match(agent.text.out, /"id":2,.*there was no answer within 1s/)
    })
  )

  it.live("goes on where nothing comes and somebody is there", () =>
    Effect.gen(function* () {
      const { program, url } = yield* served(0)
      const tail = yield* started(["tail", "-f", url, "--json", "--timeout", "1s"])
      yield* Effect.promise(() => once(tail.child.stdout, "data"))
      // Some of its questions have been answered by then.
      assert.equal((yield* Effect.flatMap(retry(url, "10s"), (acting) => ended(acting.ended))).code, 0)
      yield* until(
        "the record of the act has come",
        Effect.sync(() => tail.text.out.includes("$OperatorActed"))
      )
      assert.equal(tail.text.err, "")
      yield* program.end
    })
  )
})
