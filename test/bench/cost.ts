/**
 * What a million events cost on PostgreSQL: `npm run bench:cost`, or `npm run bench:cost -- <events>` for those that are written to find out.
 *
 * Bytes on the disk are of all tables with their indexes, as they grow; those of the write-ahead log are what a standby or an archive gets. CPU is
 * that of this program and of the server with all its processes, which hardly depends on what else the machine does. On Linux.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Result, Stream } from "effect"
import { Event, EventStore, MessageBus, UnitOfWork } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { startPostgres } from "../support/postgres-server.ts"
import { serverConnection } from "./lab.ts"
import { deposited, Deposit, depositHandler, MoneyDeposited } from "./model.ts"

const events = Number(process.argv[2] ?? 50_000)
const callers = 64
/** Of the clock that Linux counts the CPU of processes by. */
const ticks = 100

/** The CPU seconds of a server: of its processes, and of those that have ended. */
const serverSeconds = (dataDir: string): number => {
  const main = readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n")[0]
  let sum = 0
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      // Behind the name, which may have spaces: the state, the parent, …
      const [, parent, ...rest] = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /, "")
        .split(" ")
      if (pid === main) for (const field of rest.slice(9, 13)) sum += Number(field)
      else if (parent === main) for (const field of rest.slice(9, 11)) sum += Number(field)
    } catch {
      // It has ended meanwhile.
    }
  }
  return sum / ticks
}

const event = Result.getOrThrow(Event.encode(MoneyDeposited, deposited(7)))

/** Something for each of so many, by all callers. */
const each = <E, R>(count: number, one: (n: number) => Effect.Effect<unknown, E, R>) =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => n),
    one,
    { concurrency: callers, discard: true }
  )

const command = (n: number) => MessageBus.execute(Deposit, { account: `a${n % 2000}`, amount: 1 })

const cases: ReadonlyArray<{
  readonly name: string
  readonly record?: "names" | "none"
  readonly run: Effect.Effect<unknown, unknown, EventStore.EventStore | MessageBus.MessageBus | MessageBus.Handler<"Deposit">>
}> = [
  {
    name: "appended in batches of 500",
    run: each(events / 500, (n) =>
      EventStore.append(
        `Account-${n}`,
        Array.from({ length: 500 }, () => event)
      )
    )
  },
  { name: "appended one by one", run: each(events, (n) => EventStore.append(`Account-${n % 2000}`, [event])) },
  { name: "by commands, no records", record: "none", run: each(events, command) },
  { name: "by commands, with records", record: "names", run: each(events, command) }
]

const measure = (server: { readonly url: string; readonly dataDir: string }, nth: number) =>
  Effect.gen(function* () {
    const one = cases[nth]
    if (one === undefined) return
    const schema = `cost_${nth}`
    const { query } = yield* serverConnection(server.url)
    const look = Effect.gen(function* () {
      const [row] = yield* query(
        `select coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8, (pg_current_wal_lsn() - '0/0')::float8
         from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r'`,
        [schema]
      )
      const { system, user } = process.cpuUsage()
      return [Number(row?.[0]), Number(row?.[1]), (system + user) / 1e6, serverSeconds(server.dataDir)] as const
    })
    const store = PgEventStore.layerWith({ schema }).pipe(
      Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 10 })))
    )
    yield* Effect.gen(function* () {
      const before = yield* look
      yield* one.run
      const after = yield* look
      const [bytes = 0, wal = 0, program = 0, database = 0] = after.map((value, index) => (value - (before[index] ?? 0)) / events)
      const gigabytes = (each: number) => `${((each * 1e6) / 1e9).toFixed(2)} GB`.padStart(9)
      const minutes = (each: number) => `${((each * 1e6) / 60).toFixed(1)} min`.padStart(10)
      console.log(
        `${one.name.padEnd(28)} tables ${gigabytes(bytes)}  log ${gigabytes(wal)}  CPU: program ${minutes(program)}  server ${minutes(database)}`
      )
    }).pipe(
      Effect.provide(
        depositHandler.pipe(
          Layer.provideMerge(MessageBus.layerWith({ record: one.record ?? "none" })),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(store)
        )
      )
    )
    // Once more, by somebody who reads it all.
    const [, , program, database] = yield* look
    yield* Effect.provide(Stream.runDrain(EventStore.readAll()), store)
    const [, , programThen, databaseThen] = yield* look
    const spent = (programThen - program + databaseThen - database) / events
    console.log(`${"".padEnd(28)} read again: CPU ${((spent * 1e6) / 60).toFixed(2)} min`)
  }).pipe(Effect.scoped)

console.log(`A million events of 100 bytes of JSON, reckoned from ${events}, ${callers} callers:`)
await Effect.runPromise(
  Effect.gen(function* () {
    const server = yield* Effect.acquireRelease(
      Effect.promise(() => startPostgres({ max_wal_size: "8GB" })),
      ({ dispose }) => Effect.promise(dispose)
    )
    for (const nth of cases.keys()) yield* measure(server, nth)
  }).pipe(Effect.scoped)
)
process.exit(0)
