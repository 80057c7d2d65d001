import assert from "node:assert/strict"
import { appendFileSync, existsSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { dirname, join } from "node:path"
import { crc32 } from "node:zlib"
import { describe, it } from "@effect/vitest"
import { NodeFileSystem } from "@effect/platform-node"
import { DateTime, Deferred, Effect, Exit, Fiber, FileSystem, Layer, PlatformError, Stream } from "effect"
import { Archive, EventStore } from "eventfold"
import { JsonlArchive, JsonlEventStore } from "eventfold/jsonl"
import { conforms } from "../support/conformance.ts"
import { child, open } from "../support/embedded.ts"
import { temporaryDirectory } from "../support/files.ts"
import { logs } from "../support/logs.ts"

const layer = (options: JsonlEventStore.Options) => Layer.provide(JsonlEventStore.layer(options), NodeFileSystem.layer)

conforms("the JSONL store", {
  storage: Effect.map(temporaryDirectory, (directory) => layer({ path: join(directory, "events.jsonl") })),
  abilities: { durable: true, shared: false }
})

conforms("the JSONL store with a hash chain", {
  storage: Effect.map(temporaryDirectory, (directory) => layer({ path: join(directory, "events.jsonl"), chain: true })),
  abilities: { durable: true, shared: false, chain: true }
})

const temporaryFile = Effect.map(temporaryDirectory, (directory) => join(directory, "events.jsonl"))

const event = (more: Partial<EventStore.NewEvent> = {}): EventStore.NewEvent => ({ type: "Happened", payload: {}, ...more })

const use = <A, E>(options: JsonlEventStore.Options, f: (store: EventStore.EventStore["Service"]) => Effect.Effect<A, E>) =>
  Effect.scoped(Effect.flatMap(open(layer(options)), f))

const ids = (store: EventStore.EventStore["Service"]) =>
  Effect.map(Stream.runCollect(store.readAll()), (events) => events.map(({ id }) => id))

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.ok(error instanceof EventStore.EventStoreError, `not an EventStoreError: ${error}`)
    return error.reason
  })

const openingFails = (options: JsonlEventStore.Options) => reasonOf(use(options, () => Effect.void))

const locks = (path: string) => readdirSync(join(path, "..")).filter((name) => name.includes(".lock-"))

/** A file with the events `a`, then `b`, `c` and `d` in one append to two streams, then `e`. Returns its lines. */
const written = Effect.fnUntraced(function* (path: string) {
  yield* use({ path }, (store) =>
    Effect.gen(function* () {
      yield* store.append("A-1", [event({ id: "a" })])
      yield* store.appendAll([
        { stream: "A-1", events: [event({ id: "b", payload: "ä€😀" }), event({ id: "c" })] },
        { stream: "B-1", events: [event({ id: "d" })] }
      ])
      yield* store.append("A-1", [event({ id: "e" })])
    })
  )
  return readFileSync(path, "utf8").split("\n").slice(0, -1)
})

describe("the file", () => {
  it.effect("has one line an event, as documented", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      yield* use({ path }, (store) =>
        store.appendAll([
          {
            stream: "Account-1",
            events: [
              {
                type: "MoneyDeposited",
                id: "one",
                payload: { amount: 20000, note: 'a "line"\nand one more' },
                schemaVersion: 2,
                published: true,
                tags: ["large", "account:1"],
                metadata: { correlationId: "c-1", user: { name: "Ada" } },
                recordedAt: DateTime.makeUnsafe("2026-01-31T12:00:00.123Z")
              }
            ]
          },
          { stream: "Account-2", events: [event({ id: "two", recordedAt: DateTime.makeUnsafe(0) })] }
        ])
      )
      const bodies = [
        '{"position":1,"stream":"Account-1","version":1,"id":"one","type":"MoneyDeposited","schemaVersion":2,"published":true' +
          ',"tags":["large","account:1"],"recordedAt":"2026-01-31T12:00:00.123Z"' +
          ',"metadata":{"correlationId":"c-1","user":{"name":"Ada"}}' +
          ',"payload":{"amount":20000,"note":"a \\"line\\"\\nand one more"},"commit":2',
        '{"position":2,"stream":"Account-2","version":1,"id":"two","type":"Happened","schemaVersion":1,"published":false' +
          ',"tags":[],"recordedAt":"1970-01-01T00:00:00.000Z","metadata":{},"payload":{},"commit":2'
      ]
      const crc = (body: string) => crc32(body).toString(16).padStart(8, "0")
      assert.equal(readFileSync(path, "utf8"), bodies.map((body) => `${body},"crc":"${crc(body)}"}\n`).join(""))
    })
  )

  it.effect("is written and synced once for all that waits", () =>
    Effect.gen(function* () {
      const calls: Array<string> = []
      const path = yield* temporaryFile
      const store = yield* open(
        Layer.provide(
          JsonlEventStore.layer({ path }),
          meddled((file) => ({
            writeAll: (bytes: Uint8Array) =>
              Effect.andThen(
                Effect.sync(() => calls.push("write")),
                file.writeAll(bytes)
              ),
            sync: Effect.andThen(
              Effect.sync(() => calls.push("sync")),
              file.sync
            )
          }))
        )
      )
      // Plain ones, and those with conditions that exclude none of the others.
      for (const tag of [undefined, "thing"]) {
        calls.length = 0
        yield* Effect.forEach(
          Array.from({ length: 300 }),
          (_, n) => {
            const tags = tag === undefined ? [] : [`${tag}:${n}`]
            const unless = tags.map((tag) => ({ filter: { tags: [tag], types: ["Happened"] } }))
            return store.appendAll([{ stream: `A-${n % 7}`, events: [event({ tags })] }], { unless })
          },
          { concurrency: "unbounded" }
        )
        assert.ok(calls.length <= 6, calls.join())
        assert.deepEqual(
          calls,
          calls.map((_, n) => (n % 2 === 0 ? "write" : "sync"))
        )
      }
    })
  )

  it.effect("is read as of one position by readBoundary, while the read is held up and others append", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const [reading, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let gated = false
      const gate = Effect.andThen(Deferred.succeed(reading, undefined), Deferred.await(go))
      const store = yield* open(
        Layer.provide(
          JsonlEventStore.layer({ path }),
          meddled((file) => ({
            read: (...args: Parameters<typeof file.read>) =>
              Effect.suspend(() => (gated ? Effect.andThen(gate, file.read(...args)) : file.read(...args)))
          }))
        )
      )
      const tagged = (tag: string) => event({ tags: [tag] })
      yield* store.append("A-1", [tagged("left"), tagged("right")])
      gated = true
      const questions = [{ filter: { tags: ["left"] } }, { filter: { tags: ["right"] } }, { filter: {}, newest: true }]
      const held = yield* Effect.forkChild(store.readBoundary(questions))
      yield* Deferred.await(reading)
      assert.equal((yield* store.append("A-1", [tagged("right"), tagged("left")])).position, 4)
      assert.equal(held.pollUnsafe(), undefined)
      yield* Deferred.succeed(go, undefined)
      const { answers, position } = yield* Fiber.join(held)
      assert.equal(position, 2)
      assert.deepEqual(
        answers.map(({ complete, events }) => [events.map(({ position }) => position), complete]),
        [
          [[1], true],
          [[2], true],
          [[2], true]
        ]
      )
    })
  )

  it.effect("is synced before an append is acknowledged or seen", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const [syncing, synced] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let gated = false
      const gate = Effect.andThen(Deferred.succeed(syncing, undefined), Deferred.await(synced))
      const store = yield* open(
        Layer.provide(
          JsonlEventStore.layer({ path }),
          meddled((file) => ({ sync: Effect.suspend(() => (gated ? Effect.andThen(gate, file.sync) : file.sync)) }))
        )
      )
      gated = true
      const waiting = yield* Effect.forkChild(store.append("A-1", [event()]))
      yield* Deferred.await(syncing)
      for (let turn = 0; turn < 20; turn++) yield* Effect.yieldNow
      assert.equal(readFileSync(path, "utf8").split("\n").length, 2, "written")
      assert.equal(waiting.pollUnsafe(), undefined)
      assert.deepEqual([yield* store.head, yield* ids(store)], [0, []])
      yield* Deferred.succeed(synced, undefined)
      assert.equal((yield* Fiber.join(waiting)).position, 1)
    })
  )

  it.effect("keeps lines that are longer than what is read at once", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const payload = "€".repeat(1_000_000)
      yield* use({ path }, (store) => store.append("A-1", [event({ payload }), event({ id: "b" }), event({ payload })]))
      const progress: Array<JsonlEventStore.Progress> = []
      const onProgress = (step: JsonlEventStore.Progress) => Effect.sync(() => progress.push(step))
      yield* use({ path, onProgress }, (store) =>
        Effect.gen(function* () {
          const events = yield* Stream.runCollect(store.read("A-1"))
          assert.deepEqual(
            events.map(({ payload }) => payload),
            [payload, {}, payload]
          )
        })
      )
      const totalBytes = readFileSync(path).length
      assert.equal(progress.length, Math.ceil(totalBytes / 1024 / 1024))
      assert.ok(progress.every((step, n) => step.totalBytes === totalBytes && step.bytes > (progress[n - 1]?.bytes ?? 0)))
      assert.deepEqual(progress.at(-1), { bytes: totalBytes, totalBytes, events: 3 })
    })
  )
})

describe("after a crash", () => {
  it.effect("an append that was cut off at any byte is cut off whole, reported, and its place taken by the next", () =>
    Effect.gen(function* () {
      logs(/Cut off the .* unfinished append/)
      const path = yield* temporaryFile
      const lines = (yield* written(path)).slice(0, 4) // the last append has three lines
      const bytes = Buffer.from(lines.join("\n") + "\n")
      const whole = Buffer.byteLength(`${lines[0]}\n`)
      for (let length = whole; length <= bytes.length; length++) {
        writeFileSync(path, bytes.subarray(0, length))
        const repairs: Array<JsonlEventStore.Repair> = []
        const onRepair = (repair: JsonlEventStore.Repair) => Effect.sync(() => repairs.push(repair))
        // Without its newline alone the last line is whole.
        const survives = length >= bytes.length - 1
        yield* use({ path, onRepair }, (store) =>
          Effect.gen(function* () {
            const expected = survives ? ["a", "b", "c", "d"] : ["a"]
            assert.deepEqual(yield* ids(store), expected)
            const next = yield* store.append("A-1", [event({ id: "b2" })], { expected: survives ? 3 : 1 })
            assert.equal(next.position, expected.length + 1)
          })
        )
        assert.deepEqual(
          repairs,
          survives || length === whole ? [] : [{ path, line: 2, offset: whole, bytes: length - whole }],
          `cut at byte ${length}`
        )
        assert.equal(readFileSync(path, "utf8").split("\n").length, survives ? 6 : 3)
      }
    })
  )

  it.effect("what a file system has left behind the last line is cut off", () =>
    Effect.gen(function* () {
      logs(/Cut off the .* unfinished append/)
      const path = yield* temporaryFile
      const lines = yield* written(path)
      for (const rest of [Buffer.alloc(5000), Buffer.from("{"), Buffer.from(lines[4] as string).fill(0, 20)]) {
        writeFileSync(path, Buffer.concat([Buffer.from(lines.slice(0, 4).join("\n") + "\n"), rest]))
        const repairs: Array<JsonlEventStore.Repair> = []
        const onRepair = (repair: JsonlEventStore.Repair) => Effect.sync(() => repairs.push(repair))
        assert.deepEqual(yield* use({ path, onRepair }, ids), ["a", "b", "c", "d"])
        assert.deepEqual(
          repairs.map(({ bytes, line }) => [line, bytes]),
          [[5, rest.length]]
        )
      }
    })
  )
})

describe("a damaged file", () => {
  it.effect("is refused with the number of the line, and left as it is", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const lines = yield* written(path)
      const [one, two, three, four, five] = lines as [string, string, string, string, string]
      const changed = (line: string) => line.replace('"Happened"', '"Happenef"')
      for (const [bad, line, problem] of [
        [[changed(one), two, three, four, five], 1, /checksum does not fit/],
        [[one, two, changed(three), four, five], 3, /checksum does not fit/],
        [[one, two, three, four, changed(five)], 5, /checksum does not fit/],
        [[one, two.slice(0, 40), three, four, five], 2, /does not end with a checksum/],
        [[one, "", two, three, four, five], 2, /does not end with a checksum/],
        [[one, three, four, five], 2, /position is 3/],
        [[two, three, four, five], 1, /position is 2/],
        [[one, one, two, three, four, five], 2, /position is 1/],
        [[one, two, four, three, five], 3, /position is 4/],
        [["# events", one], 1, /does not end with a checksum/]
      ] as const) {
        const text = bad.join("\n") + "\n"
        writeFileSync(path, text)
        const reason = yield* openingFails({ path })
        assert.equal(reason._tag, "StoreCorrupted")
        assert.match(reason.detail, new RegExp(`^line ${line} of .*events.jsonl \\(at byte \\d+\\) is damaged`))
        assert.match(reason.detail, problem)
        assert.equal(readFileSync(path, "utf8"), text)
        assert.deepEqual(locks(path), [])
      }
      writeFileSync(path, lines.join("\n") + "\n")
      assert.deepEqual(yield* use({ path }, ids), ["a", "b", "c", "d", "e"])
    })
  )

  it.effect("that two stores have written together is refused", () =>
    Effect.gen(function* () {
      const [path, other] = [yield* temporaryFile, yield* temporaryFile]
      const line = (id: string, stream: string, path: string) =>
        Effect.map(
          use({ path }, (store) => store.append(stream, [event({ id })])),
          () => readFileSync(path, "utf8")
        )
      yield* line("a", "A-1", path)
      yield* line("x", "X-1", other)
      const version = (yield* line("y", "A-1", other)).split("\n")[1] as string
      appendFileSync(path, `${version}\n`)
      const reason = yield* openingFails({ path })
      assert.deepEqual(
        [reason._tag, reason.detail.replace(/ of .*?\(/, " (")],
        [
          "StoreCorrupted",
          `line 2 (at byte ${Buffer.byteLength(readFileSync(path, "utf8").split("\n")[0] as string) + 1}) is damaged: version 1 of A-1 follows version 1`
        ]
      )
    })
  )

  it.effect("is noticed when what is read has changed since it was opened", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      yield* written(path)
      yield* use({ path }, (store) =>
        Effect.gen(function* () {
          writeFileSync(path, readFileSync(path, "utf8").replace("😀", "🙂"))
          assert.equal((yield* Stream.runCollect(store.readAll({ limit: 1 }))).length, 1)
          const reason = yield* reasonOf(Stream.runDrain(store.read("A-1")))
          assert.equal(reason._tag, "StoreCorrupted")
          assert.match(reason.detail, /^line 2 of .* checksum does not fit/)
          truncateSync(path, 10)
          assert.equal((yield* reasonOf(Stream.runDrain(store.readAll())))._tag, "StoreCorrupted")
        })
      )
    })
  )
})

describe("the lock", () => {
  it.live("keeps a second writer out until the first has closed, in this process and in others", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const link = `${path}-link`
      yield* Effect.scoped(
        Effect.gen(function* () {
          const store = yield* open(layer({ path }))
          symlinkSync(path, link)
          for (const name of [path, link]) {
            const reason = yield* openingFails({ path: name })
            assert.equal(reason._tag, "StoreUnavailable")
            assert.match(reason.detail, /is open for writing in this process itself/)
          }
          const other = yield* child
          other.begin("hold", "jsonl", path)
          assert.equal(yield* Effect.promise(other.line), "ready")
          assert.match((yield* Effect.promise(other.line)) ?? "", new RegExp(`is open for writing in process ${process.pid} on`))
          assert.equal((yield* store.append("A-1", [event()])).position, 1)
        })
      )
      assert.deepEqual(locks(path), [])
      assert.equal(yield* use({ path }, ({ head }) => head), 1)
    })
  )

  it.live("of a process that was killed is taken over, of one that merely hangs it is not", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const owner = yield* child
      owner.begin("hold", "jsonl", path)
      assert.equal(yield* Effect.promise(owner.line), "ready")
      assert.equal(yield* Effect.promise(owner.line), "open")
      owner.process.kill("SIGSTOP")
      assert.match((yield* openingFails({ path })).detail, new RegExp(`process ${owner.process.pid} on`))
      yield* Effect.promise(() => owner.kill())
      assert.equal(locks(path).length, 1)
      assert.equal((yield* use({ path }, (store) => store.append("A-1", [event()]))).position, 1)
      assert.deepEqual(locks(path), [])
    })
  )

  it.live("of a dead process goes to exactly one of several that want it", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      writeFileSync(path, "")
      writeFileSync(`${path}.lock-${process.pid}-1-${hostname()}`, "") // this pid, in another life
      const children = yield* Effect.all([child, child, child, child])
      for (const { line } of children) assert.equal(yield* Effect.promise(line), "ready")
      for (const { begin } of children) begin("hold", "jsonl", path)
      const said = yield* Effect.promise(() => Promise.all(children.map(({ line }) => line())))
      assert.deepEqual(said.map((line) => line?.replace(/:.*/, "")).sort(), ["failed", "failed", "failed", "open"])
    })
  )

  it.live("of another host is respected, and the message says which file it is", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const file = `${path}.lock-1-1-elsewhere`
      writeFileSync(file, "")
      const reason = yield* openingFails({ path })
      assert.equal(reason._tag, "StoreUnavailable")
      assert.ok(reason.detail.includes("process 1 on elsewhere") && reason.detail.includes(file), reason.detail)
      assert.ok(existsSync(file))
    })
  )
})

describe("a reader", () => {
  it.live("in another process follows the file while it grows", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const store = yield* open(layer({ path }))
      yield* store.append("A-1", [event(), event()])
      const reader = yield* child
      reader.begin("follow", "jsonl", path, "60")
      for (const line of ["ready", "1", "2"]) assert.equal(yield* Effect.promise(reader.line), line)
      for (let n = 3; n <= 60; n++) {
        yield* store.append(`A-${n % 3}`, [event()])
        if (n % 20 === 0) {
          for (let position = n === 20 ? 3 : n - 19; position <= n; position++) {
            assert.equal(yield* Effect.promise(reader.line), `${position}`)
          }
        }
      }
      assert.deepEqual(yield* Effect.promise(reader.rest), [])
    })
  )

  it.live("sees what the writer sees, changes nothing, and cannot append", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      assert.equal((yield* openingFails({ path, access: "read" }))._tag, "StoreUnavailable")
      const writer = yield* open(layer({ path }))
      const reader = yield* open(layer({ path, access: "read" }))
      const following = yield* Effect.forkChild(Stream.runCollect(Stream.take(reader.subscribe(), 3)))
      yield* writer.append("A-1", [event({ id: "a", tags: ["a:1"] }), event({ id: "b" })])
      assert.deepEqual(yield* ids(reader), ["a", "b"])
      yield* writer.append("B-1", [event({ id: "c", tags: ["a:1"] })])
      assert.deepEqual([yield* reader.version("B-1"), yield* reader.exists("C-1"), yield* reader.head], [1, false, 3])
      assert.deepEqual(yield* Stream.runCollect(reader.streams()), yield* Stream.runCollect(writer.streams()))
      const filter = { tags: ["a:1"] }
      assert.deepEqual(yield* Stream.runCollect(reader.readAll({ filter })), yield* Stream.runCollect(writer.readAll({ filter })))
      assert.deepEqual(
        (yield* Fiber.join(following)).map(({ id }) => id),
        ["a", "b", "c"]
      )
      const reason = yield* reasonOf(reader.append("A-1", [event()]))
      assert.deepEqual([reason._tag, reason.operation], ["StoreFailure", "append"])
      assert.equal((yield* Effect.flip(reader.append("", [event()])))._tag, "InvalidAppendError")

      const before = readFileSync(path)
      appendFileSync(path, '{"position":4')
      assert.deepEqual(yield* use({ path, access: "read" }, ids), ["a", "b", "c"])
      assert.equal(readFileSync(path).length, before.length + 13, "a reader repairs nothing")
    })
  )
})

/** The file system of Node, with other ideas about files that are open for writing, or as `isMeant` says. */
const meddled = (
  meddle: (file: FileSystem.File) => Partial<Record<keyof FileSystem.File, unknown>>,
  isMeant: (flag?: FileSystem.OpenFlag) => boolean = (flag) => flag === "a+"
) =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (fs) => ({
      ...fs,
      open: (path: string, options?: Parameters<FileSystem.FileSystem["open"]>[1]) =>
        Effect.map(fs.open(path, options), (file): FileSystem.File => {
          if (!isMeant(options?.flag)) return file
          const methods = { ...meddle(file) }
          return new Proxy(file, {
            get: (file, key) => {
              if (key in methods) return methods[key as keyof typeof methods]
              const value: unknown = Reflect.get(file, key, file)
              return typeof value === "function" ? value.bind(file) : value
            }
          })
        })
    }))
  ).pipe(Layer.provide(NodeFileSystem.layer))

describe("a disk that fails", () => {
  /** As Node's file system says it: what the disk says stands in the cause. */
  const failure = (_tag: PlatformError.SystemErrorTag) => {
    const cause = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })
    return PlatformError.systemError({ _tag, module: "FileSystem", method: "write", cause })
  }

  it.effect("in the middle of a write: nothing of it stays, and the next append takes its place", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      let fails: "write" | "sync" | undefined
      const store = yield* open(
        Layer.provide(
          JsonlEventStore.layer({ path }),
          meddled((file) => ({
            writeAll: (bytes: Uint8Array) =>
              fails === "write"
                ? Effect.andThen(file.writeAll(bytes.subarray(0, bytes.length - 20)), Effect.fail(failure("Unknown")))
                : file.writeAll(bytes),
            // Fails once: after that the disk has room again.
            sync: Effect.suspend(() => {
              if (fails !== "sync") return file.sync
              fails = undefined
              return Effect.fail(failure("Busy"))
            })
          }))
        )
      )
      yield* store.append("A-1", [event({ id: "a" })])
      const before = readFileSync(path)
      for (const [kind, tag] of [
        ["write", "StoreFailure"],
        ["sync", "StoreUnavailable"]
      ] as const) {
        fails = kind
        const reason = yield* reasonOf(store.append("A-1", [event(), event()]))
        assert.deepEqual([reason._tag, reason.operation], [tag, "append"])
        assert.match(reason.detail, /ENOSPC$/)
        assert.deepEqual(readFileSync(path), before)
        assert.deepEqual(yield* ids(store), ["a"])
      }
      fails = undefined
      assert.equal((yield* store.append("A-1", [event({ id: "b" })], { expected: 1 })).position, 2)
    })
  )

  it.effect("so that a write cannot even be undone: the outcome is unknown, and nothing more is written", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      let fails = false
      const sick = meddled((file) => ({
        sync: Effect.suspend(() => (fails ? Effect.fail(failure("Unknown")) : file.sync))
      }))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const store = yield* open(Layer.provide(JsonlEventStore.layer({ path }), sick))
          yield* store.append("A-1", [event({ id: "a" })])
          fails = true
          const append = store.append("A-1", [event({ id: "b" })])
          assert.equal((yield* reasonOf(append))._tag, "OutcomeUnknown")
          fails = false
          assert.equal((yield* reasonOf(append))._tag, "StoreUnavailable")
          assert.deepEqual(yield* ids(store), ["a"])
        })
      )
      const result = yield* use({ path }, (store) => store.append("A-1", [event({ id: "b" })]))
      assert.equal(result.version, 2)
    })
  )

  it.effect.each(["EIO", "EINVAL"])("to keep the name of a file in its directory: told, where it is the disk (%s)", (code) =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const cause = Object.assign(new Error(code), { code })
      const syncing = { _tag: "Unknown", module: "FileSystem", method: "sync", cause } as const
      const sick = meddled(
        () => ({ sync: Effect.fail(PlatformError.systemError(syncing)) }),
        (flag) => flag === undefined
      )
      const cold = Layer.provide(JsonlArchive.layer({ name: "cold", directory: dirname(path) }), sick)
      const recorded = yield* use({ path: join(dirname(path), "other.jsonl") }, (store) =>
        Effect.andThen(store.append("A-1", [event()]), Stream.runCollect(store.readAll()))
      )
      const said = yield* Effect.all([
        Effect.match(open(Layer.provide(JsonlEventStore.layer({ path }), sick)), {
          onFailure: ({ message }) => message,
          onSuccess: () => "done"
        }),
        Effect.match(
          Effect.provide(
            Archive.Archive.use(({ write }) => write(recorded)),
            cold
          ),
          {
            onFailure: ({ message }) => message,
            onSuccess: () => "done"
          }
        )
      ])
      if (code === "EINVAL") return assert.deepEqual(said, ["done", "done"])
      assert.match(said[0] ?? "", /StoreFailure during open/)
      assert.match(said[1] ?? "", / may forget /)
    })
  )

  it.effect("to open the file is typed", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      assert.equal((yield* openingFails({ path: join(directory, "absent", "events.jsonl") }))._tag, "StoreUnavailable")
      assert.equal((yield* openingFails({ path: directory }))._tag, "StoreFailure")
      assert.ok(Exit.isSuccess(yield* Effect.exit(use({ path: join(directory, "events.jsonl") }, ({ head }) => head))))
    })
  )
})
