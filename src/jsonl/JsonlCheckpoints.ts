/**
 * Checkpoints in a file of JSON lines, beside the events.
 *
 * One name is one line, in code point order:
 *
 * ```json
 * {"name":"relay:orders","position":42,"seen":{"position":42,"id":"0198…"},"epoch":3,"owner":"0198…","expiresAt":"2026-01-31T12:00:15.000Z","updatedAt":"2026-01-31T12:00:00.000Z"}
 * ```
 *
 * `seen` is the newest event that the owner had seen; it is missing where that is unknown. `owner` is `null` when the name has been released. After the names comes a line for each version of a projection:
 *
 * ```json
 * {"projection":"Balances","version":2,"mode":"async","active":true,"target":null,"heard":42,"revision":3,"updatedAt":"2026-01-31T12:00:00.000Z"}
 * ```
 *
 * A file of 0.1.0, which kept the versions as checkpoints called `projection:…`, is converted when it is opened; 0.1.0 refuses to open
 * it from then on. With every change the file is replaced as a whole: what stands there after a
 * crash is one state or the next, and an acknowledged change is on the disk. A renewal is no change: after a restart a lease lasts
 * as long as was written when it was claimed or advanced.
 *
 * A file has one writer, kept alone as that of the events is: `<path>.lock-<pid>-<start>-<host>`. While the program is not running
 * it may be edited.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type Checkpoint, Checkpoints, type ProjectionVersion } from "../store/Checkpoints.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { type KeptCheckpoints, makeInMemory } from "../store/kit/index.ts"
import { corrupted, failAs, lock, syncDirectory } from "./file.ts"
import { fromFirstRelease } from "./firstRelease.ts"

/**
 * Which file the checkpoints are kept in.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The path of the file, which is not that of the events. It is made when it does not exist; its directory must exist. */
  readonly path: string
}

const whole = (minimum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum: Number.MAX_SAFE_INTEGER }))
const position = whole(0)

const CheckpointLine = Schema.Struct({
  name: Schema.NonEmptyString,
  position,
  seen: Schema.optional(Schema.Struct({ position: whole(1), id: Schema.NonEmptyString })),
  epoch: position,
  owner: Schema.OptionFromNullOr(Schema.String),
  paused: Schema.optional(Schema.Literal(true)),
  expiresAt: Schema.DateTimeUtcFromString,
  updatedAt: Schema.DateTimeUtcFromString
})
const VersionLine = Schema.Struct({
  projection: Schema.NonEmptyString,
  version: whole(1),
  mode: Schema.Literals(["async", "inline", "dropped"]),
  active: Schema.Boolean,
  target: Schema.OptionFromNullOr(position),
  heard: position,
  revision: whole(1),
  updatedAt: Schema.DateTimeUtcFromString
})
const Line = Schema.fromJsonString(Schema.Union([CheckpointLine, VersionLine]))
const decode = Schema.decodeUnknownResult(Line)
const encode = Schema.encodeSync(Line)

const closed = PlatformError.systemError({
  _tag: "BadResource",
  module: "JsonlCheckpoints",
  method: "write",
  description: "the checkpoints' Layer has been closed"
})

/** What a file says, or what is wrong with it. */
const parse = (path: string, text: string): Result.Result<KeptCheckpoints, string> => {
  const checkpoints: Array<Checkpoint> = []
  const versions: Array<ProjectionVersion> = []
  const keys = new Set<string>()
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue
    const decoded = decode(line)
    const damaged = `line ${index + 1} of ${path} is damaged`
    if (Result.isFailure(decoded)) return Result.fail(`${damaged}: ${decoded.failure.message}`)
    const entry = decoded.success
    const [kind, key] = "name" in entry ? ["name", entry.name] : ["version", `${entry.projection}@${entry.version}`]
    if (keys.has(`${kind} ${key}`)) return Result.fail(`${damaged}: ${key} stands there twice`)
    keys.add(`${kind} ${key}`)
    if ("name" in entry) checkpoints.push(entry)
    else versions.push(entry)
  }
  return Result.succeed({ checkpoints, versions })
}

/**
 * Checkpoints in the file at `path`, for one process at a time, until the scope closes.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* ({
  path: given
}: Options): Effect.fn.Return<Checkpoints["Service"], EventStoreError, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  yield* failAs("open", Effect.scoped(fs.open(given, { flag: "a" })))
  yield* lock(fs, given)
  // Where the path is a link, what it leads to is replaced.
  const path = yield* failAs("open", fs.realPath(given))
  const next = `${path}.next`
  let isClosed = false
  yield* Effect.addFinalizer(() => Effect.sync(() => (isClosed = true)))

  const keep = Effect.fnUntraced(function* ({ checkpoints, versions }: KeptCheckpoints) {
    // The lock is free, and the file may be another's.
    if (isClosed) return yield* closed
    const text = [...checkpoints, ...versions].map((entry) => `${encode(entry)}\n`).join("")
    const file = Effect.flatMap(fs.open(next, { flag: "w" }), (file) =>
      Effect.andThen(file.writeAll(Buffer.from(text)), file.sync)
    )
    yield* Effect.scoped(file)
    yield* fs.rename(next, path)
    yield* syncDirectory(fs, path)
  })

  const parsed = parse(path, yield* failAs("open", fs.readFileString(path)))
  if (Result.isFailure(parsed)) return yield* corrupted("open", parsed.failure)
  const converted = fromFirstRelease(parsed.success)
  if (converted !== undefined) yield* failAs("open", keep(converted))
  return makeInMemory({ initial: converted ?? parsed.success, keep })
})

/**
 * The Layer of {@link make}. Leases run by the fiber's `Clock`.
 *
 * ```ts
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Checkpoints } from "eventfold"
 * import { JsonlCheckpoints } from "eventfold/jsonl"
 * import { mkdtempSync } from "node:fs"
 * import { join } from "node:path"
 * import { tmpdir } from "node:os"
 *
 * const path = join(mkdtempSync(join(tmpdir(), "eventfold-")), "checkpoints.jsonl")
 * const Live = Layer.provide(JsonlCheckpoints.layer({ path }), NodeFileSystem.layer)
 *
 * const program = Effect.gen(function* () {
 *   const checkpoints = yield* Checkpoints.Checkpoints
 *   const lease = yield* checkpoints.claim("emails", { owner: "a", ttl: "10 seconds" })
 *   yield* checkpoints.release(yield* checkpoints.advance(lease, 42))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Live))
 * const again = Checkpoints.Checkpoints.use(({ list }) => list)
 * const [checkpoint] = await Effect.runPromise(Effect.provide(again, Layer.fresh(Live)))
 * checkpoint?.position // => 42
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Checkpoints, EventStoreError, FileSystem.FileSystem> =>
  Layer.effect(Checkpoints, make(options))

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Checkpoints, EventStoreError | Config.ConfigError, FileSystem.FileSystem> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
