/** Starts three processes of the shop, sells through them from a fourth, kills one and stops another on the way, and counts in the end. */
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { freePort, nodeOf } from "../../test/support/clusterNode.ts"
import { startPostgres } from "../../test/support/postgres-server.ts"
import { Article, options, Sell } from "./shop.ts"

export interface Outcome {
  /** Commands that have been answered. */
  readonly answered: number
  /** Events that the log has, and how many commands they are of. */
  readonly events: number
  readonly commands: number
  /** Rows of the ledger, and how many commands they are of. */
  readonly rows: number
  readonly entered: number
  /** Answers that do not fit the log. */
  readonly wrong: number
  /** The longest that a caller has waited, in milliseconds. */
  readonly longest: number
}

const SoldPayload = Schema.Struct({ order: Schema.String, pieces: Schema.Int })

const startNode = (url: string) =>
  Effect.flatMap(freePort, (port) =>
    Effect.acquireRelease(
      Effect.promise(async () => {
        const path = join(import.meta.dirname, "node.ts")
        const child = spawn(process.execPath, ["--conditions=@eventfold/source", path, url, String(port)], {
          stdio: ["ignore", "pipe", "inherit"]
        })
        for await (const line of createInterface({ input: child.stdout })) if (line === "ready") break
        return child
      }),
      kill
    )
  )

/** As a crash would end it: without a farewell. */
const kill = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, "exit")
    child.kill("SIGKILL")
    await gone
  })

export const program = Effect.fnUntraced(function* ({
  rounds,
  say
}: {
  /** Orders of each of sixteen callers. */
  readonly rounds: number
  readonly say: (line: string) => Effect.Effect<void>
}) {
  const { url } = yield* Effect.acquireRelease(
    Effect.promise(() => startPostgres({})),
    ({ dispose }) => Effect.promise(dispose)
  )
  // The fourth process is this one: it owns no article, and calls those that do.
  const caller = yield* Layer.build(
    ClusterBus.layerClient(Article, [Sell], { ...options, patience: "45 seconds" }).pipe(
      Layer.provideMerge(MessageBus.layer),
      Layer.provideMerge(UnitOfWork.layer),
      Layer.provideMerge(PgEventStore.layer),
      Layer.provideMerge(nodeOf({ url, schema: "shop" }))
    )
  )
  return yield* Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table ledger (sale text, pieces int)`
    const [first, second] = yield* Effect.all([startNode(url), startNode(url), startNode(url)])
    yield* say("Three processes are up.")

    const answers = new Map<string, number>()
    let longest = 0
    const selling = yield* Effect.forEach(
      Array.from({ length: 16 }, (_, n) => n),
      Effect.fnUntraced(function* (n) {
        for (let round = 0; round < rounds; round++) {
          const order = `${n}-${round}`
          const begun = performance.now()
          answers.set(order, yield* MessageBus.execute(Sell, { article: `article ${(n + round) % 5}`, order, pieces: 1 }))
          longest = Math.max(longest, performance.now() - begun)
        }
      }),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.forkChild)

    const until = (share: number) => Effect.repeat(Effect.sleep("20 millis"), { while: () => answers.size < 16 * rounds * share })
    yield* until(0.2)
    yield* kill(first)
    yield* say(`One was killed behind ${answers.size} orders.`)
    yield* until(0.5)
    second.kill("SIGSTOP")
    yield* say(`One was stopped behind ${answers.size} orders.`)
    yield* Effect.sleep("6 seconds")
    second.kill("SIGCONT")
    yield* say(`It goes on behind ${answers.size}.`)
    yield* Fiber.join(selling)

    const sold = Array.from(yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Sold"] } })))
    const totals = new Map<string, number>()
    let wrong = 0
    const orders = sold.map(({ payload, stream }) => {
      const { order, pieces } = Schema.decodeUnknownSync(SoldPayload)(payload)
      const total = (totals.get(stream) ?? 0) + pieces
      totals.set(stream, total)
      if (answers.get(order) !== total) wrong++
      return order
    })
    const ledger = sql<{
      rows: number
      entered: number
    }>`select count(*)::int "rows", count(distinct sale)::int entered from ledger`
    let row = { rows: 0, entered: 0 }
    for (let tries = 0; tries < 300 && row.entered < sold.length; tries++) {
      yield* Effect.sleep("100 millis")
      row = (yield* ledger)[0] ?? row
    }
    const outcome: Outcome = {
      answered: answers.size,
      events: sold.length,
      commands: new Set(orders).size,
      ...row,
      wrong,
      longest: Math.round(longest)
    }
    return outcome
  }).pipe(Effect.provide(caller))
})

/** What does not add up; nothing where everything was done once. */
export const disagreement = ({ answered, commands, entered, events, rows, wrong }: Outcome): string | undefined => {
  if (events !== commands) return `${events} events of ${commands} commands`
  if (answered !== commands) return `${answered} answers to ${commands} commands`
  if (wrong > 0) return `${wrong} answers do not fit the log`
  return rows === commands && entered === commands ? undefined : `${rows} rows of ${entered} commands in the ledger`
}
