/** The orders example: `npm start`, or `npm start -- --help`. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Equal, FileSystem, Option, Path, Runtime, Schema } from "effect"
import { CliConfig, CliOutput, Command, Flag, GlobalFlag } from "effect/cli"
import { bold, complain, count, dim, good, heading, name, print } from "./terminal.ts"
import * as Tour from "./tour.ts"
import { shop, stores } from "./wiring.ts"

const options = {
  store: Flag.Literals("store", ["memory", "sqlite", "jsonl", "pglite", "postgres"]).pipe(
    Flag.withDescription(
      "Where events are kept. Default: sqlite, since it starts at once and needs nothing beside Node; or postgres when there is a --url"
    ),
    Flag.optional
  ),
  url: Flag.String("url").pipe(
    Flag.withDescription("The database for --store postgres: postgres://user:password@host:5432/database"),
    Flag.optional
  ),
  data: Flag.String("data").pipe(
    Flag.withDescription("The folder for --store sqlite, jsonl or pglite, made when absent and kept. Default: a temporary one"),
    Flag.optional
  ),
  inspect: Flag.Boolean("inspect").pipe(
    Flag.withDescription("Instead of the tour, trade until interrupted, and serve the inspector on this machine"),
    Flag.withDefault(false)
  ),
  port: Flag.Int("port").pipe(
    Flag.withDescription("The port of the inspector; 0 is any that is free. Default: 4700"),
    Flag.withDefault(4700)
  )
}

/** What is wrong, in one sentence, said on stderr; the exit code is 1. */
class Refusal extends Schema.TaggedError<Refusal>()("Refusal", { message: Schema.String }) {
  override readonly [Runtime.errorReported] = false
}

/** The store that was asked for, what to call it, and whether it is kept. */
const chooseStore = Effect.fnUntraced(function* (options: {
  readonly store: Option.Option<"memory" | "sqlite" | "jsonl" | "pglite" | "postgres">
  readonly url: Option.Option<string>
  readonly data: Option.Option<string>
}) {
  const url = Option.getOrUndefined(options.url)
  const data = Option.getOrUndefined(options.data)
  const store = Option.getOrElse(options.store, () => (url === undefined ? "sqlite" : "postgres"))
  if (url !== undefined && store !== "postgres") return yield* refuse(`--url goes with --store postgres, not with ${store}.`)
  if (data !== undefined && (store === "memory" || store === "postgres")) {
    return yield* refuse(`--data goes with --store sqlite, jsonl or pglite, not with ${store}.`)
  }
  switch (store) {
    case "memory":
      return { layer: stores.memory, place: "memory", durable: false }
    case "sqlite": {
      const file = yield* fileIn(data, "orders.sqlite")
      return { layer: stores.sqlite(file), place: `SQLite in ${file}`, durable: true }
    }
    case "jsonl": {
      const file = yield* fileIn(data, "orders.jsonl")
      return { layer: stores.jsonl(file), place: `JSON lines in ${file}`, durable: true }
    }
    case "pglite": {
      const folder = yield* folderOf(data)
      return { layer: stores.pglite(folder), place: `PGlite in ${folder}`, durable: true }
    }
    case "postgres": {
      if (url === undefined) {
        return yield* refuse("--store postgres needs --url postgres://user:password@host:5432/database.")
      }
      const { host, pathname, protocol } = yield* Effect.try({
        try: () => new URL(url),
        catch: () => new Refusal({ message: "--url is not a URL: postgres://user:password@host:5432/database is wanted." })
      })
      if (!/^postgres(ql)?:$/.test(protocol)) return yield* refuse(`--url must begin with postgres://, not with ${protocol}//.`)
      return { layer: stores.postgres(url), place: `PostgreSQL at ${host}${pathname}`, durable: true }
    }
  }
})

/** The folder that was asked for, or a temporary one. */
const folderOf = Effect.fnUntraced(function* (data: string | undefined) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return data === undefined ? yield* fs.makeTempDirectoryScoped({ prefix: "eventfold-orders-" }) : path.resolve(data)
})

const fileIn = Effect.fnUntraced(function* (data: string | undefined, file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* folderOf(data)
  yield* fs
    .makeDirectory(folder, { recursive: true })
    .pipe(Effect.mapError(({ message }) => new Refusal({ message: `--data cannot be used: ${message}.` })))
  return path.join(folder, file)
})

const refuse = (message: string) => Effect.fail(new Refusal({ message }))

/** The whole tour, on a store that is opened twice. */
const tour = Effect.fnUntraced(function* ({ durable, layer: store, place }: Effect.Success<ReturnType<typeof chooseStore>>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const commands = yield* fs.readFileString(path.join(import.meta.dirname, "commands.jsonl"))

  yield* print(`${bold("eventfold")}: orders, payments and stock of a shop, on ${name(place)}`)
  const before = yield* Effect.gen(function* () {
    const run = yield* Tour.begin
    if (run.number > 1) {
      yield* print(
        `Run ${run.number} on this data: ${count(run.earlier, "event")} stand there already; the ids of this run begin with ${run.prefix}`
      )
    }
    yield* Tour.aWeekOfCommands(run, commands)
    yield* Tour.auditTrail(run)
    yield* Tour.timeTravel(run)
    yield* Tour.race(run)
    yield* Tour.deadlines(run)
    yield* Tour.rebuilt(run)
    yield* Tour.published(run)
    return yield* Tour.standing
  }).pipe(Effect.provide(shop(store)))

  yield* heading(8, "Closed, and opened again")
  const after = yield* Effect.provide(Tour.standing, store)
  if (!durable) {
    yield* print(`   Before: ${count(before.head, "event")}. Now: ${after.head}. Memory forgets.`)
  } else if (Equal.equals(before, after)) {
    const statuses = Object.entries(Object.groupBy(after.orders.values(), ({ state }) => state.status))
    yield* print(
      `   ${good("✓")} ${count(after.head, "event")} stand there, and all ${after.orders.size} orders fold to the same states:`,
      `     ${statuses.map(([status, of]) => `${of?.length} ${status}`).join(", ")}`
    )
  } else {
    return yield* refuse(`After ${place} was opened again its orders are not what they were.`)
  }
  yield* print("", dim("Next: the code is in examples/orders, the API in README.md; npm start -- --help has the other stores."))
})

/** The shop with the inspector. Its code is loaded where it is asked for. */
const looked = Effect.fnUntraced(function* (store: Effect.Success<ReturnType<typeof chooseStore>>, port: number) {
  const { inspect } = yield* Effect.promise(() => import("./inspect.ts"))
  yield* inspect(store, port)
})

/** One of the two. */
type Asked = Effect.Effect<
  void,
  Effect.Error<ReturnType<typeof tour>> | Effect.Error<ReturnType<typeof looked>>,
  Effect.Services<ReturnType<typeof tour>> | Effect.Services<ReturnType<typeof looked>>
>

const main = Command.make(
  "npm start --",
  options,
  Effect.fnUntraced(
    function* (options) {
      const store = yield* chooseStore(options)
      const asked = Effect.suspend(() => (options.inspect ? looked(store, options.port) : tour(store)) as Asked)
      yield* asked.pipe(
        Effect.catch((error) =>
          refuse(error._tag === "EventStoreError" ? `${store.place} cannot be used: ${error.reason.detail}.` : error.message)
        )
      )
    },
    Effect.scoped,
    Effect.tapError((error) => complain(error.message)),
    Effect.onInterrupt(() => Console.error("\nInterrupted. What was committed stands; the rest was not begun."))
  )
).pipe(
  Command.withDescription("A shop's orders, payments and stock, event-sourced: run a week of commands and look at what is left.")
)

/** Help in full where it is asked for; one sentence where an option is wrong. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? complain(event.errors.map(({ message }) => message).join(" "))
      : CliOutput.defaultPresenter.present(event)
}

// Whoever stops reading (`npm start | head`) has seen enough; the tour ends as it would have.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error
})

Command.run(main, { version: "0.1.0" }).pipe(
  Effect.provide([CliConfig.layer({ builtIns: [GlobalFlag.Help] }), CliOutput.layerPresenter(presenter), NodeServices.layer]),
  NodeRuntime.runMain
)
