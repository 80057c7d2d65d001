import assert from "node:assert/strict"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, FileSystem, Layer, Option, PlatformError } from "effect"
import { Checkpoints } from "eventfold"
import { JsonlCheckpoints } from "eventfold/jsonl"
import { CheckpointsConformance } from "eventfold/testing"
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { child } from "../support/embedded.ts"
import { assertConverted, old, rows } from "../support/first-release.ts"
import { temporaryDirectory } from "../support/files.ts"

const layer = (path: string, fs: Layer.Layer<FileSystem.FileSystem> = NodeFileSystem.layer) =>
  Layer.fresh(Layer.provide(JsonlCheckpoints.layer({ path }), fs))

const open = (path: string, fs?: Layer.Layer<FileSystem.FileSystem>) =>
  Effect.map(Layer.build(layer(path, fs)), Context.get(Checkpoints.Checkpoints))

const file = Effect.map(temporaryDirectory, (directory) => join(directory, "checkpoints.jsonl"))

describe("conformance of JsonlCheckpoints", () => {
  const cases = CheckpointsConformance.cases({
    storage: Effect.map(file, (path) => layer(path)),
    abilities: { clock: "test", durable: true, shared: false }
  })
  for (const { name, run } of cases) it.effect(name, () => run)
})

describe("the file", () => {
  it.effect("holds one line a name, as documented, and nothing else is left beside it", () =>
    Effect.gen(function* () {
      const path = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { advance, claim, release } = yield* open(path)
          yield* advance(yield* claim("b", { owner: "me", ttl: "15 seconds" }), 42)
          yield* release(yield* claim("a", { owner: "me", ttl: "15 seconds" }))
        })
      )
      assert.equal(
        yield* Effect.promise(() => readFile(path, "utf8")),
        `{"name":"a","position":0,"epoch":1,"owner":null,"expiresAt":"1970-01-01T00:00:15.000Z","updatedAt":"1970-01-01T00:00:00.000Z"}\n` +
          `{"name":"b","position":42,"epoch":1,"owner":"me","expiresAt":"1970-01-01T00:00:15.000Z","updatedAt":"1970-01-01T00:00:00.000Z"}\n`
      )
      assert.deepEqual(yield* Effect.promise(() => readdir(join(path, ".."))), ["checkpoints.jsonl"])
    })
  )

  it.effect("holds a line a version after those of the names, as documented", () =>
    Effect.gen(function* () {
      const path = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { reset, versions } = yield* open(path)
          const row = { projection: "Balances", heard: 42, revision: 0, target: Option.some(50) }
          yield* versions.put({ ...row, version: 10, mode: "inline" })
          yield* versions.activate("Balances", 2, Option.none())
          yield* reset("a", 3)
        })
      )
      assert.equal(
        yield* Effect.promise(() => readFile(path, "utf8")),
        `{"name":"a","position":3,"epoch":1,"owner":null,"expiresAt":"1970-01-01T00:00:00.000Z","updatedAt":"1970-01-01T00:00:00.000Z"}\n` +
          `{"projection":"Balances","version":2,"mode":"async","active":true,"target":null,"heard":0,"revision":1,"updatedAt":"1970-01-01T00:00:00.000Z"}\n` +
          `{"projection":"Balances","version":10,"mode":"inline","active":false,"target":50,"heard":42,"revision":1,"updatedAt":"1970-01-01T00:00:00.000Z"}\n`
      )
    })
  )

  it.effect("of 0.1.0 is converted when it is opened, once", () =>
    Effect.gen(function* () {
      const path = yield* file
      const lines = rows.map((row) =>
        JSON.stringify({
          ...row,
          expiresAt: new Date(old.expiresAt).toISOString(),
          updatedAt: new Date(old.updatedAt).toISOString()
        })
      )
      yield* Effect.promise(() => writeFile(path, lines.map((line) => `${line}\n`).join("")))
      yield* Effect.provide(assertConverted({ fences: false }), layer(path))
      const text = yield* Effect.promise(() => readFile(path, "utf8"))
      assert.doesNotMatch(text, /"name":"projection:Balances|dropped","expiresAt|inline","expiresAt/)
      assert.match(text, /"projection":"Balances","version":10,"mode":"dropped"/)
      yield* Effect.provide(assertConverted({ fences: false }), layer(path))
      assert.equal(yield* Effect.promise(() => readFile(path, "utf8")), text)
    })
  )

  it.effect("has one writer at a time", () =>
    Effect.gen(function* () {
      const path = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* open(path)
          const error = yield* Effect.flip(open(path))
          assert.equal(error.reason._tag, "StoreUnavailable")
          assert.match(error.reason.detail, /one writer at a time/)
        })
      )
      yield* open(path)
    })
  )

  it.effect("that is damaged is not opened, and not touched", () =>
    Effect.gen(function* () {
      const path = yield* file
      const line = `{"name":"a","position":1,"epoch":1,"owner":null,"expiresAt":"2026-01-31T12:00:00.000Z","updatedAt":"2026-01-31T12:00:00.000Z"}`
      const version = `{"projection":"Balances","version":1,"mode":"async","active":true,"target":null,"heard":0,"revision":1,"updatedAt":"2026-01-31T12:00:00.000Z"}`
      for (const [text, problem] of [
        [`${line}\n{"name":"b","pos`, /line 2 .* is damaged/],
        [`${line.replace(":1,", ":-1,")}\n`, /line 1 .* is damaged/],
        [`${line}\n${line}\n`, /line 2 .* a stands there twice/],
        [`${version}\n${version}\n`, /line 2 .* Balances@1 stands there twice/],
        [`${version.replace("async", "now and then")}\n`, /line 1 .* is damaged/]
      ] as const) {
        yield* Effect.promise(() => writeFile(path, text))
        const error = yield* Effect.flip(Effect.scoped(open(path)))
        assert.equal(error.reason._tag, "StoreCorrupted")
        assert.match(error.reason.detail, problem)
        assert.equal(yield* Effect.promise(() => readFile(path, "utf8")), text)
      }
    })
  )

  it.effect("is replaced where a link leads to", () =>
    Effect.gen(function* () {
      const path = yield* file
      const real = join(path, "..", "elsewhere", "real.jsonl")
      yield* Effect.promise(async () => {
        await mkdir(join(real, ".."))
        await writeFile(real, "")
        await symlink(real, path)
      })
      const { claim } = yield* open(path)
      yield* claim("a", { owner: "me", ttl: "15 seconds" })
      assert.match(yield* Effect.promise(() => readFile(real, "utf8")), /"name":"a"/)
    })
  )

  it.live(
    "holds what was acknowledged when its process is killed in the midst of a change",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        for (let round = 1; round <= 4; round++) {
          const advancing = yield* child
          const last = yield* Effect.promise(async () => {
            assert.equal(await advancing.line(), "ready")
            advancing.begin("advance", "jsonl", path)
            for (let n = 0; n < 3 * round; n++) await advancing.line()
            const rest = advancing.rest()
            await advancing.kill()
            return Number((await rest).at(-1) ?? 0)
          })
          const { get } = yield* open(path).pipe(Effect.scoped)
          const { epoch, position } = Option.getOrThrow(yield* get("mail"))
          assert.ok(position >= last && position > 3 * round - 1, `${position} after ${last}`)
          assert.equal(epoch, round)
        }
      }),
    60_000
  )

  for (const operation of ["open", "write", "sync", "rename"]) {
    it.effect(`a change whose ${operation} fails has not happened, and the next one works`, () =>
      Effect.gen(function* () {
        const path = yield* file
        let broken = false
        const fail = <A, R>(
          name: string,
          effect: Effect.Effect<A, PlatformError.PlatformError, R>
        ): Effect.Effect<A, PlatformError.PlatformError, R> =>
          Effect.suspend(() =>
            broken && name === operation
              ? Effect.fail(
                  PlatformError.systemError({
                    _tag: "Unknown",
                    module: "FileSystem",
                    method: name,
                    description: "the disk is full"
                  })
                )
              : effect
          )
        const faulty = Layer.effect(
          FileSystem.FileSystem,
          Effect.map(FileSystem.FileSystem, (fs) => ({
            ...fs,
            rename: (from, to) => fail("rename", fs.rename(from, to)),
            open: (path, options) =>
              Effect.map(fail("open", fs.open(path, options)), (file): FileSystem.File => ({
                ...file,
                writeAll: (bytes) => fail("write", file.writeAll(bytes)),
                sync: fail("sync", file.sync)
              }))
          }))
        ).pipe(Layer.provide(NodeFileSystem.layer))
        const { advance, claim, get, release } = yield* open(path, faulty)
        const lease = yield* claim("a", { owner: "me", ttl: "15 seconds" })
        const before = yield* get("a")
        const text = yield* Effect.promise(() => readFile(path, "utf8"))
        broken = true
        for (const effect of [advance(lease, 1), release(lease), claim("b", { owner: "me", ttl: "15 seconds" })]) {
          const error = yield* Effect.flip<unknown, { readonly _tag: string; readonly message: string }, never>(effect)
          assert.equal(error._tag, "CheckpointError")
          assert.match(error.message, /the disk is full/)
        }
        assert.deepEqual(yield* get("a"), before)
        assert.equal(yield* Effect.promise(() => readFile(path, "utf8")), text)
        broken = false
        assert.equal((yield* advance(lease, 1)).position, 1)
        assert.match(yield* Effect.promise(() => readFile(path, "utf8")), /"position":1/)
      })
    )
  }
})

it.effect("its path comes from the configuration", () =>
  Effect.gen(function* () {
    const path = yield* file
    const configured = (values: object) =>
      Layer.build(JsonlCheckpoints.layerConfig({ path: Config.String("CHECKPOINTS") })).pipe(
        Effect.flatMap((context) => Context.get(context, Checkpoints.Checkpoints).claim("a", { owner: "me", ttl: "15 seconds" })),
        Effect.scoped,
        Effect.provide([ConfigProvider.layer(ConfigProvider.fromUnknown(values)), NodeFileSystem.layer])
      )
    yield* configured({ CHECKPOINTS: path })
    assert.match(yield* Effect.promise(() => readFile(path, "utf8")), /^\{"name":"a"/)
    assert.equal((yield* Effect.flip(configured({})))._tag, "ConfigError")
  })
)
