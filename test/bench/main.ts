/**
 * The benchmark: `npm run bench`, or `npm run bench -- --help`.
 *
 * Every case does a piece of work several times in each round, by turns: **ours**, through the full typed API, and **raw**, the same work
 * with the same driver, the same SQL and the same batch sizes, without our service, Schema, checks and group commit; or by other
 * stores, which are installed in `peers/` when a case needs them. Each run has fresh tables and is warmed up; afterwards the number of
 * events, the head and the density of positions are checked.
 *
 * With `--against <commit>` ours is run on two builds, this one (with what is not committed) and that one, by turns on one server. The
 * cases are those of this build: `adapter.ts` has what that one calls otherwise.
 *
 * With `--report <folder>` the cases that have a plot are run, and a page with plots is written: `npm run bench -- --report test/bench/report`
 * makes the one that the README shows, in some ten minutes. Let the machine do nothing else meanwhile: the page says what its load was.
 *
 * How to read a line:
 *
 * - *ours*, *beside*: the median of the rounds, in the unit of the case. `ms` is the median time of one operation: less is better.
 * - *ratio*: how fast ours is as a share of what it is beside, which may be ours in another case: the median of the rounds' ratios.
 *   1 is as fast, 0.5 half as fast; above 1 ours is faster.
 * - *rounds*: the least and the greatest ratio of a round. Where 1 is between them, a difference may be noise: more rounds tell, and
 *   `--against HEAD` tells what the noise of a machine is.
 * - *p50*, *p99*: milliseconds that one caller of ours waits for one operation, over all rounds. Callers wait for one answer before
 *   they ask again; only the cases at a steady rate count from when an operation was due.
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
 *
 * A new case is an entry of `makeCases`: a name, a place, a unit, and an Effect that warms up, measures and returns a `Sample`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os"
import { join } from "node:path"
import { startPostgres } from "../support/postgres-server.ts"
import { checkOut } from "./build.ts"
import { makeCases } from "./cases.ts"
import { type Case, sidesOf } from "./harness.ts"
import { serverConnection } from "./lab.ts"
import { install } from "./peers/load.ts"
import { writeReport } from "./report.ts"
import { type Entrant, measure, type Row, rowsOf, table } from "./rows.ts"
import { type Runner, makeRunner } from "./runners.ts"

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

const refuse = (userMessage: string, cause: unknown = userMessage) => new CliError.UserError({ cause, userMessage })

/** The sides of a case: ours, and what it is compared with, or ours on two builds. */
const entrantsOf = (
  one: Case,
  order: { readonly scale: number; readonly url: string; readonly folder: string },
  options: {
    readonly runner: Runner
    readonly other: { readonly name: string; readonly runner: Runner } | undefined
    readonly peers: boolean
  }
): ReadonlyArray<Entrant> => {
  const { other, peers, runner } = options
  const run = (runner: Runner, side: string) => runner({ ...order, name: one.name, side })
  return other === undefined
    ? Object.keys(sidesOf(one, peers)).map((side) => ({ case: one, side, run: run(runner, side) }))
    : [
        { case: one, side: "ours", run: run(runner, "ours") },
        { case: one, side: other.name, run: run(other.runner, "ours") }
      ]
}

const bench = Command.make("bench", {
  only: Flag.String("only").pipe(
    Flag.withDescription("Only cases whose name contains this text; may be repeated"),
    Flag.atLeast(0)
  ),
  against: Flag.String("against").pipe(
    Flag.withDescription("Measures this build beside that of a commit, in place of other stores and the bare driver"),
    Flag.optional
  ),
  report: Flag.String("report").pipe(
    Flag.withDescription("Measures what the page of results shows, and writes it into this folder"),
    Flag.optional
  ),
  quick: Flag.Boolean("quick").pipe(
    Flag.withDescription("Two rounds of a tenth of the work, on logs of a tenth of the length"),
    Flag.withDefault(false)
  ),
  rounds: Flag.Int("rounds").pipe(
    Flag.withDescription("How often each case is run (default: 5, for the page of results 2)"),
    Flag.optional
  ),
  peers: Flag.Boolean("peers").pipe(
    Flag.withDescription("Measures other stores too, which are installed when they are needed (default: true)"),
    Flag.withDefault(true)
  ),
  json: Flag.String("json").pipe(
    Flag.withDescription("Write the results as JSON to this file; - writes them to the output, and the table beside it"),
    Flag.optional
  ),
  list: Flag.Boolean("list").pipe(Flag.withDescription("List the cases"), Flag.withDefault(false))
}).pipe(
  Command.withDescription("Measures eventfold beside the bare driver, other stores, or an older build"),
  Command.withHandler(
    Effect.fnUntraced(function* ({ against, json, list, only, peers, quick, report, rounds: wanted }) {
      if (Option.isSome(against) && Option.isSome(report)) return yield* refuse("--report and --against do not go together")
      const scale = quick ? 0.1 : 1
      const cases = makeCases(scale).filter(
        ({ chart, name }) =>
          (Option.isNone(report) || chart !== undefined) && (only.length === 0 || only.some((text) => name.includes(text)))
      )
      if (cases.length === 0) return yield* refuse(`no case is called ${only.join(" or ")}: see --list`)
      if (list) return yield* Console.log(cases.map(({ name }) => name).join("\n"))
      const rounds = Option.getOrElse(wanted, () => (quick ? 2 : Option.isSome(report) ? 2 : 5))
      if (rounds < 1) return yield* refuse("--rounds is 1 at least")
      const print = Option.contains(json, "-") ? Console.error : Console.log

      const needs = (...places: ReadonlyArray<Case["place"]>) => cases.some(({ place }) => places.includes(place))
      const build = yield* Effect.transposeOption(Option.map(against, checkOut)).pipe(
        Effect.mapError((error) => refuse(error.message, error))
      )
      if (peers && Option.isNone(build) && cases.some((one) => one.peers !== undefined)) {
        yield* Effect.try({ try: install, catch: (error) => refuse(String(error), error) })
      }
      const url = needs("postgres", "databases") ? (yield* server).url : ""
      const order = { scale, url, folder: yield* folder }
      const runner = yield* makeRunner()
      const other = Option.isNone(build) ? undefined : { name: build.value.name, runner: yield* makeRunner(build.value) }
      const machine = {
        date: new Date().toISOString(),
        node: process.version,
        postgres: url === "" ? undefined : yield* serverSettings(url),
        cores: availableParallelism(),
        processor: cpus()[0]?.model,
        load: loadavg()[0]?.toFixed(1),
        rounds,
        quick
      }
      const heading = Object.entries({ ...machine, ...machine.postgres, postgres: undefined })
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `${name} ${value}`)
        .join(" · ")
      yield* print(heading)

      const rows: Array<Row> = []
      const failed: Array<string> = []
      const groups = Map.groupBy(cases, ({ group, name }) => group ?? name)
      for (const [index, [name, group]] of Array.from(groups).entries()) {
        yield* Console.error(`  ${index + 1}/${groups.size} ${name}${group.length === 1 ? "" : `, ${group.length} cases`}`)
        const entrants = group.flatMap((one) => entrantsOf(one, order, { runner, other, peers }))
        const measured = yield* measure(entrants, rounds)
        rows.push(...rowsOf(measured))
        for (const failure of measured.failures) {
          failed.push(failure.message)
          yield* Console.error(failure)
        }
      }
      yield* print(table(rows))

      if (Option.isSome(json)) {
        const text = JSON.stringify({ ...machine, cases: rows }, null, 2)
        yield* json.value === "-" ? Console.log(text) : Effect.promise(() => writeFile(json.value, `${text}\n`))
      }
      if (Option.isSome(report)) yield* writeReport(report.value, { heading, cases, rows })
      if (failed.length > 0) return yield* refuse(failed.join("; "))
    }, Effect.scoped)
  )
)

Command.run(bench, { version: "1" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
