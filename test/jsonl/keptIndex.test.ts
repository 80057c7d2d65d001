/**
 * The index beside a file of JSON lines: whatever happens to it or to the file, a store that has it answers as one that has none.
 */
import assert from "node:assert/strict"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { NodeFileSystem } from "@effect/platform-node"
import { DateTime, Effect, Layer, References, Result, Stream } from "effect"
import { EventStore } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { child, open, startChild } from "../support/embedded.ts"
import { temporaryDirectory } from "../support/files.ts"

type Store = EventStore.EventStore["Service"]

const layer = (options: JsonlEventStore.Options) => Layer.provide(JsonlEventStore.layer(options), NodeFileSystem.layer)

const use = <A, E>(options: JsonlEventStore.Options, f: (store: Store) => Effect.Effect<A, E>) =>
  // Of what is cut off, and of no index, others tell.
  Effect.scoped(Effect.flatMap(open(layer(options)), f)).pipe(Effect.provideService(References.MinimumLogLevel, "None"))

const temporaryFile = Effect.map(temporaryDirectory, (directory) => join(directory, "events.jsonl"))
const indexOf = (path: string) => `${path}.eventfold-index`

/** Which of several index files this is: one that replaces another is another. */
const identity = (path: string) => (existsSync(indexOf(path)) ? statSync(indexOf(path)).ino : undefined)

/** Numbers in [0, 1) that follow from a seed. */
const randomOf = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const streams = ["A-1", "A-2", "Ümläut-ß", "猫-😀", "B-1"]
const types = ["Opened", "Geändert", "Closed"]
const tags = ["red", "grün", "青", "account:1", "account:2"]
const correlations = ["c-1", "c-2", "ç-3"]

/** An event, any; `filler` bytes large. */
const anyEvent = (random: () => number, id: string, filler: number): EventStore.NewEvent => {
  const pick = (from: ReadonlyArray<string>) => from[Math.floor(random() * from.length)] as string
  return {
    type: pick(types),
    id,
    payload: { filler: "x".repeat(filler) },
    published: random() < 0.5,
    tags: Array.from(new Set(Array.from({ length: Math.floor(random() * 4) }, () => pick(tags)))),
    metadata: random() < 0.3 ? {} : { correlationId: pick(correlations), more: 1 },
    recordedAt: DateTime.makeUnsafe(Math.floor(random() * 2e12))
  }
}

/** Appends so many events, a few at a time. */
const grow = (store: Store, random: () => number, name: string, count: number, filler: number) =>
  Effect.gen(function* () {
    for (let n = 0; n < count;) {
      const size = 1 + Math.floor(random() * 5)
      const events = Array.from({ length: size }, (_, nth) => anyEvent(random, `${name}-${n + nth}`, filler))
      yield* store.append(streams[Math.floor(random() * streams.length)] as string, events)
      n += size
    }
  })

/** More than an index is kept for. */
const enough = { count: 80, filler: 4000 }

/** Everything that a store says, or why it does not. */
const answers = (store: Store) =>
  Effect.gen(function* () {
    const page = (events: ReadonlyArray<EventStore.RecordedEvent>) =>
      events.map(({ payload, recordedAt, ...event }) => ({
        ...event,
        at: DateTime.toEpochMillis(recordedAt),
        size: JSON.stringify(payload).length
      }))
    const all = yield* Stream.runCollect(store.readAll())
    const filters: ReadonlyArray<EventStore.Filter> = [
      ...tags.map((tag) => ({ tags: [tag] })),
      { tags: ["red", "account:1"] },
      ...types.map((type) => ({ types: [type] })),
      ...correlations.map((correlationId) => ({ correlationId })),
      { categories: ["A"], published: true },
      [{ types: ["Opened"], tags: ["grün"] }, { categories: ["猫"] }]
    ]
    const found: Array<unknown> = []
    for (const filter of filters) {
      found.push((yield* Stream.runCollect(store.readAll({ filter }))).map(({ position }) => position))
      found.push(
        (yield* Stream.runCollect(store.readAll({ filter, direction: "backward", limit: 3 }))).map(({ position }) => position)
      )
    }
    for (const stream of [...streams, "Absent-1"]) {
      found.push(yield* store.version(stream))
      found.push(page(yield* Stream.runCollect(store.read(stream))))
      found.push(page(yield* Stream.runCollect(store.read(stream, { direction: "backward", limit: 7 }))))
      found.push(page(yield* Stream.runCollect(store.read(stream, { until: DateTime.makeUnsafe(1e12) }))))
    }
    return { head: yield* store.head, all: page(all), streams: yield* Stream.runCollect(store.streams()), found }
  })

/** What a store on this file says. */
const said = (options: JsonlEventStore.Options) =>
  Effect.map(Effect.result(use(options, answers)), (result) =>
    Result.isSuccess(result) ? result.success : `${result.failure}`.replaceAll(options.path, "<file>")
  )

/** The same of a copy that has no index. The copy is made first: whoever opens a file for writing may repair it. */
const saidWithout = (path: string, access: "read" | "write") =>
  Effect.suspend(() => {
    const copy = `${path}-copy`
    copyFileSync(path, copy)
    rmSync(indexOf(copy), { force: true })
    return Effect.tap(
      Effect.map(said({ path: copy, access }), (answer) =>
        typeof answer === "string" ? answer.replaceAll(copy, "<file>") : answer
      ),
      () => Effect.sync(() => [copy, indexOf(copy)].forEach((file) => rmSync(file, { force: true })))
    )
  })

/** What can happen while nobody has the file open. */
const happenings: Readonly<
  Record<string, (path: string, random: () => number, name: string) => Effect.Effect<unknown, unknown>>
> = {
  "it is opened and closed": (path) => use({ path }, (store) => store.head),
  "it is written": (path, random, name) => use({ path }, (store) => grow(store, random, name, enough.count, enough.filler)),
  "a little is written": (path, random, name) => use({ path }, (store) => grow(store, random, name, 3, 10)),
  "a release that knows nothing of the index writes": (path, random, name) => {
    const index = existsSync(indexOf(path)) ? readFileSync(indexOf(path)) : undefined
    rmSync(indexOf(path), { force: true })
    return Effect.tap(
      use({ path }, (store) => grow(store, random, name, enough.count, enough.filler)),
      () =>
        Effect.sync(() => (index === undefined ? rmSync(indexOf(path), { force: true }) : writeFileSync(indexOf(path), index)))
    )
  },
  "its end is lost": (path, random) =>
    Effect.sync(() => truncateSync(path, Math.floor(statSync(path).size * (0.3 + 0.7 * random())))),
  "its last newline is lost": (path) => Effect.sync(() => truncateSync(path, Math.max(0, statSync(path).size - 1))),
  "a line is begun": (path) => Effect.sync(() => writeFileSync(path, '{"position":', { flag: "a" })),
  "its index is cut off": (path, random) =>
    Effect.sync(
      () => existsSync(indexOf(path)) && truncateSync(indexOf(path), Math.floor(statSync(indexOf(path)).size * random()))
    ),
  "its index is damaged": (path, random) => Effect.sync(() => existsSync(indexOf(path)) && flip(indexOf(path), random)),
  "its index is another version's": (path) => Effect.sync(() => writeFileSync(indexOf(path), "eventfold-index2 and more")),
  "its index is empty": (path) => Effect.sync(() => writeFileSync(indexOf(path), "")),
  "its index is removed": (path) => Effect.sync(() => rmSync(indexOf(path), { force: true }))
}

const flip = (path: string, random: () => number) => {
  const bytes = readFileSync(path)
  if (bytes.length === 0) return
  const at = Math.floor(bytes.length * random())
  bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8))
  writeFileSync(path, bytes)
}

describe("the index beside the file", () => {
  for (const seed of Array.from({ length: 6 }, (_, nth) => Math.floor(Math.random() * 2 ** 31) + nth)) {
    it.live(
      `changes no answer, whatever happens to it and to the file (${seed})`,
      () =>
        Effect.gen(function* () {
          const path = yield* temporaryFile
          const random = randomOf(seed)
          yield* use({ path }, (store) => grow(store, random, "first", enough.count, enough.filler))
          const backups = [{ file: readFileSync(path), index: readFileSync(indexOf(path)) }]
          const story: Array<string> = []
          const names = [...Object.keys(happenings), "an earlier state is restored", "an earlier index is restored"]
          for (let step = 0; step < 14; step++) {
            const name = names[Math.floor(random() * names.length)] as string
            story.push(name)
            const backup = backups[Math.floor(random() * backups.length)] ?? backups[0]
            if (name === "an earlier state is restored") writeFileSync(path, backup?.file ?? "")
            else if (name === "an earlier index is restored") writeFileSync(indexOf(path), backup?.index ?? "")
            else yield* happenings[name]?.(path, random, `${step}`) ?? Effect.die(name)
            for (const access of ["read", "write"] as const) {
              const expected = yield* saidWithout(path, access)
              assert.deepEqual(yield* said({ path, access }), expected, `${access}, seed ${seed}, after: ${story.join("; ")}`)
            }
            if (existsSync(indexOf(path))) backups.push({ file: readFileSync(path), index: readFileSync(indexOf(path)) })
          }
        }),
      120_000
    )
  }

  it.live("hides no damage of the file: opening names the line, wherever it is", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      yield* use({ path }, (store) => grow(store, randomOf(1), "a", enough.count, enough.filler))
      const whole = readFileSync(path)
      const index = readFileSync(indexOf(path))
      const random = randomOf(Math.floor(Math.random() * 2 ** 31))
      for (let round = 0; round < 20; round++) {
        writeFileSync(path, whole)
        writeFileSync(indexOf(path), index)
        flip(path, random)
        for (const access of ["read", "write"] as const) {
          const expected = yield* saidWithout(path, access)
          assert.deepEqual(yield* said({ path, access }), expected)
        }
      }
    })
  )

  it.live("is kept for what is worth it, and what fits is not written again", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const random = randomOf(2)
      yield* use({ path }, (store) => grow(store, random, "a", 5, 100))
      assert.equal(identity(path), undefined, "a file of some lines needs none")
      yield* use({ path }, (store) => grow(store, random, "b", enough.count, enough.filler))
      const first = identity(path)
      assert.notEqual(first, undefined)
      yield* use({ path }, ({ head }) => head)
      yield* use({ path }, (store) => grow(store, random, "c", 5, 100))
      assert.equal(identity(path), first)
      yield* use({ path }, (store) => grow(store, random, "d", enough.count, enough.filler))
      assert.notEqual(identity(path), first)
      assert.ok(!existsSync(`${indexOf(path)}.next`))
    })
  )

  it.live("that does not fit is replaced by whoever writes, and left alone by who reads", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      yield* use({ path }, (store) => grow(store, randomOf(3), "a", enough.count, enough.filler))
      flip(indexOf(path), randomOf(4))
      const damaged = readFileSync(indexOf(path))
      yield* use({ path, access: "read" }, ({ head }) => head)
      assert.deepEqual(readFileSync(indexOf(path)), damaged)
      rmSync(indexOf(path))
      yield* use({ path, access: "read" }, ({ head }) => head)
      assert.equal(identity(path), undefined)
      writeFileSync(indexOf(path), damaged)
      // Already when it is opened: it may never be closed.
      yield* use({ path }, () => Effect.sync(() => assert.notDeepEqual(readFileSync(indexOf(path)), damaged)))
      const whole = readFileSync(path)
      truncateSync(path, Buffer.from(whole).indexOf("\n") + 1)
      yield* use({ path }, ({ head }) => head)
      assert.equal(identity(path), undefined, "of a file that needs none, none is left")
    })
  )

  it.live("is touched by nobody who is kept out of the file", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      yield* use({ path }, (store) => grow(store, randomOf(5), "a", enough.count, enough.filler))
      const other = yield* child
      yield* use({ path }, () =>
        Effect.gen(function* () {
          writeFileSync(indexOf(path), "damaged meanwhile")
          other.begin("hold", "jsonl", path)
          assert.equal(yield* Effect.promise(other.line), "ready")
          assert.match((yield* Effect.promise(other.line)) ?? "", /^failed/)
          assert.match(String(yield* said({ path })), /is open for writing in this process/)
          assert.equal(readFileSync(indexOf(path), "utf8"), "damaged meanwhile")
        })
      )
    })
  )

  it.live("may be read by whoever may read the file, and that it cannot be kept is no failure", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      writeFileSync(path, "")
      chmodSync(path, 0o600)
      yield* use({ path }, (store) => grow(store, randomOf(6), "a", enough.count, enough.filler))
      assert.equal(statSync(indexOf(path)).mode & 0o777, 0o600)
      rmSync(indexOf(path))
      mkdirSync(`${indexOf(path)}.next`)
      assert.deepEqual(yield* said({ path }), yield* saidWithout(path, "write"))
      assert.equal(identity(path), undefined)
    })
  )

  it.live(
    "is whole or absent where a process was killed while it wrote one",
    () =>
      Effect.gen(function* () {
        const path = yield* temporaryFile
        yield* use({ path }, (store) => grow(store, randomOf(7), "a", 4000, 1000))
        const expected = yield* saidWithout(path, "write")
        let next = startChild()
        yield* Effect.addFinalizer(() => Effect.promise(() => next.kill()))
        for (let round = 0; round < 10; round++) {
          rmSync(indexOf(path), { force: true })
          const child = next
          next = startChild() // loads its code meanwhile
          yield* Effect.promise(async () => {
            assert.equal(await child.line(), "ready")
            child.begin("hold", "jsonl", path)
            // It reads the file, and then writes the index, at some moment of these.
            await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 250))
            await child.kill()
          })
          assert.deepEqual(yield* said({ path, access: "read" }), expected)
        }
        assert.deepEqual(yield* said({ path }), expected)
      }),
    120_000
  )

  it.live("answers as a store in memory, in streams of any length", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const memory = yield* EventStore.makeMemory
      const random = randomOf(8)
      const batches = Array.from({ length: 90 }, (_, n) =>
        Array.from({ length: 100 }, (_, nth) => anyEvent(random, `${n}-${nth}`, 10))
      )
      const fill = (store: Store, from: number, to: number) =>
        Effect.forEach(batches.slice(from, to), (events, n) => store.append(n % 9 === 8 ? "Short-1" : "Long-1", events), {
          discard: true
        })
      const compared = (store: Store) =>
        Effect.gen(function* () {
          const draw = randomOf(9)
          for (let round = 0; round < 60; round++) {
            const stream = draw() < 0.8 ? "Long-1" : "Short-1"
            const options = {
              from: 1 + Math.floor(draw() * 8200),
              limit: 1 + Math.floor(draw() * 50),
              direction: draw() < 0.5 ? "backward" : "forward"
            } as const
            const [ours, theirs] = [
              yield* Stream.runCollect(store.read(stream, options)),
              yield* Stream.runCollect(memory.read(stream, options))
            ]
            assert.deepEqual(
              ours.map(({ id, version }) => [id, version]),
              theirs.map(({ id, version }) => [id, version])
            )
          }
          for (const tag of tags) {
            const unless = { filter: { tags: [tag, "red"] }, after: 100 }
            const append = [{ stream: "X-1", events: [{ type: "X", payload: {} }] }]
            assert.deepEqual(
              yield* Effect.flip(store.appendAll(append, { unless })),
              yield* Effect.flip(memory.appendAll(append, { unless }))
            )
          }
          const repeated = yield* store.append("Long-1", batches[0] ?? [])
          assert.deepEqual(repeated, yield* memory.append("Long-1", batches[0] ?? []))
          assert.ok(repeated.deduplicated)
        })
      yield* fill(memory, 0, 60)
      yield* use({ path }, (store) => Effect.andThen(fill(store, 0, 60), compared(store)))
      const kept = identity(path)
      yield* fill(memory, 60, 90)
      yield* use({ path }, (store) => Effect.andThen(fill(store, 60, 90), compared(store)))
      assert.notEqual(kept, undefined)
      assert.notEqual(identity(path), kept)
      yield* use({ path }, compared)
    })
  )
})
