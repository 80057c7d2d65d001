/**
 * The benchmark: `npm run bench`, or `npm run bench -- --help`.
 *
 * Every case does a piece of work twice in each round, by turns: **ours**, through the full typed API, and **raw**, the same work
 * with the same driver, the same SQL and the same batch sizes, without our service, Schema, checks and group commit. Each run has
 * fresh tables and is warmed up; afterwards the number of events, the head and the density of positions are checked.
 *
 * How to read a line:
 *
 * - *ours*, *raw*: the median of the rounds, in the unit of the case. `ms` is the median time of one operation: less is better.
 * - *ratio*: how fast ours is as a share of raw. 1 is as fast, 0.5 half as fast; above 1 ours is faster.
 * - *p50*, *p99*: milliseconds that one caller of ours waits for one operation, over all rounds.
 * - *min–max*: the worst and the best round of ours.
 *
 * The server is the benchmark's own and on this machine, so it takes its share of the cores; figures of two machines cannot be
 * compared, ratios can. Where many callers append, raw is one connection that sends what group commit would send, batch after
 * batch, with no callers to wake. A raw single append is one statement that updates the counter and inserts. What is raw beside
 * the memory store is `JSON.stringify` and an array, and beside PGlite its own `query`.
 *
 * Raw beside the SQLite store are prepared statements of `node:sqlite` on a file with the same tables, triggers and pragmas, one
 * transaction a batch, which neither looks up what stands nor decides; beside the JSON lines one write and one fsync a batch of
 * lines as long as the store's, without their checksums or an index. Their sizes on the disk are those of the closed files.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { availableParallelism, cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { startPostgres } from "../support/postgres-server.ts"
import { makeCases } from "./cases.ts"
import { jsonlLab, sqliteLab } from "./embedded.ts"
import { type Row, runCase, table } from "./harness.ts"
import { memoryLab, pgliteLab, serverConnection, serverLab } from "./lab.ts"

/** Memory as a server of this size would have, and no checkpoint within a run. */
const parameters = { shared_buffers: "512MB", max_wal_size: "8GB", checkpoint_timeout: "1h" }

const server = Effect.acquireRelease(
  Effect.promise(() => startPostgres(parameters)),
  ({ dispose }) => Effect.promise(dispose)
)

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-bench-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

const serverSettings = (url: string) =>
  Effect.gen(function* () {
    const { query } = yield* serverConnection(url)
    const settings: Record<string, string> = {}
    for (const name of ["server_version", "fsync", "synchronous_commit", "shared_buffers"]) {
      const [row] = yield* query(`show ${name}`)
      settings[name] = String(row?.[0])
    }
    return settings
  }).pipe(Effect.scoped)

const bench = Command.make("bench", {
  only: Flag.String("only").pipe(
    Flag.withDescription("Only cases whose name contains this text; may be repeated"),
    Flag.atLeast(0)
  ),
  quick: Flag.Boolean("quick").pipe(Flag.withDescription("Two rounds of a tenth of the work"), Flag.withDefault(false)),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("How often each case is run (default: 5)"), Flag.optional),
  json: Flag.String("json").pipe(
    Flag.withDescription("Write the results as JSON to this file; - writes them to the output, and the table beside it"),
    Flag.optional
  ),
  list: Flag.Boolean("list").pipe(Flag.withDescription("List the cases"), Flag.withDefault(false))
}).pipe(
  Command.withDescription("Measures eventfold beside the bare driver"),
  Command.withHandler(
    Effect.fnUntraced(function* ({ json, list, only, quick, rounds: wanted }) {
      const cases = makeCases(quick ? 0.1 : 1).filter(({ name }) => only.length === 0 || only.some((text) => name.includes(text)))
      if (cases.length === 0) {
        const userMessage = `no case is called ${only.join(" or ")}: see --list`
        return yield* new CliError.UserError({ cause: userMessage, userMessage })
      }
      if (list) return yield* Console.log(cases.map(({ name }) => name).join("\n"))
      const rounds = Option.getOrElse(wanted, () => (quick ? 2 : 5))
      const print = Option.contains(json, "-") ? Console.error : Console.log

      const needs = (place: string) => cases.some((one) => one.place === place)
      const url = needs("postgres") ? (yield* server).url : undefined
      const dataDir = needs("pglite") ? yield* folder : undefined
      const files = needs("sqlite") || needs("jsonl") ? yield* folder : undefined
      const machine = {
        date: new Date().toISOString(),
        node: process.version,
        postgres: url === undefined ? undefined : yield* serverSettings(url),
        cores: availableParallelism(),
        processor: cpus()[0]?.model,
        rounds,
        quick
      }
      yield* print(
        Object.entries({ ...machine, ...machine.postgres, postgres: undefined })
          .filter(([, value]) => value !== undefined)
          .map(([name, value]) => `${name} ${value}`)
          .join(" · ")
      )

      const rows: Array<Row> = []
      const failed: Array<string> = []
      for (const [index, one] of cases.entries()) {
        yield* Console.error(`  ${index + 1}/${cases.length} ${one.name}`)
        const labs = {
          postgres: () => serverLab(url as string),
          pglite: () => pgliteLab(dataDir as string),
          sqlite: () => sqliteLab(files as string),
          jsonl: () => jsonlLab(files as string),
          memory: () => memoryLab
        }
        yield* runCase(one, rounds, labs[one.place]()).pipe(
          Effect.map((row) => rows.push(row)),
          Effect.catch((error) => {
            failed.push(one.name)
            return Console.error(error)
          })
        )
      }
      yield* print(table(rows))

      if (Option.isSome(json)) {
        const text = JSON.stringify({ ...machine, cases: rows }, null, 2)
        yield* json.value === "-" ? Console.log(text) : Effect.promise(() => writeFile(json.value, `${text}\n`))
      }
      if (failed.length > 0) {
        const userMessage = `failed: ${failed.join("; ")}`
        return yield* new CliError.UserError({ cause: userMessage, userMessage })
      }
    }, Effect.scoped)
  )
)

Command.run(bench, { version: "1" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
