/** The versions of projections stand in a registry: one of each projection is active, and who writes has seen what was there. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { changed, entry, error, every, long, race, refusal, type Service, withoutCause } from "./words.ts"

const row = (version: number, more: Partial<Parameters<Service["versions"]["put"]>[0]> = {}) => ({
  projection: "Balances",
  version,
  mode: "async" as const,
  target: Option.none<number>(),
  heard: 0,
  revision: 0,
  ...more
})

/** Which versions of a projection are active. */
const activeOf = function* ({ versions }: Service, projection: string) {
  return (yield* versions.list(projection)).filter(({ active }) => active).map(({ version }) => version)
}

export const versions = [
  every("a version that nobody has written is not known", function* ({ versions }) {
    assert.deepEqual(yield* versions.get("Balances", 1), Option.none())
    assert.deepEqual([yield* versions.list(), yield* versions.list("Balances")], [[], []])
  }),

  every("a version is found as it was written, and is not active by that", function* ({ versions }) {
    yield* versions.put(row(2, { target: Option.some(2 ** 53 - 1), heard: 2 ** 31 }))
    const expected = { projection: "Balances", version: 2, mode: "async", active: false, target: 2 ** 53 - 1, heard: 2 ** 31 }
    assert.deepEqual(entry(Option.getOrThrow(yield* versions.get("Balances", 2))), { ...expected, revision: 1 })
    assert.deepEqual(yield* versions.get("Balances", 1), Option.none())
    assert.deepEqual(yield* versions.get("balances", 2), Option.none())
  }),

  every("versions are listed by name in code point order, then by number, and are no checkpoints", function* (checkpoints) {
    const { versions } = checkpoints
    for (const projection of ["b", "A", "é", "\u{1F600}", "\uFF5E", "it's", "%"]) {
      for (const version of [10, 9, 2 ** 53 - 1]) yield* versions.put(row(version, { projection }))
    }
    const names = ["%", "A", "b", "it's", "é", "\uFF5E", "\u{1F600}"]
    assert.deepEqual(
      (yield* versions.list()).map(({ projection, version }) => [projection, version]),
      names.flatMap((name) => [9, 10, 2 ** 53 - 1].map((version) => [name, version]))
    )
    assert.deepEqual(
      (yield* versions.list("it's")).map(({ version }) => version),
      [9, 10, 2 ** 53 - 1]
    )
    assert.deepEqual(yield* checkpoints.list, [])
    yield* checkpoints.claim("A", { owner: "a", ttl: long })
    assert.equal((yield* versions.list("A")).length, 3)
  }),

  every("who writes must have seen what is there", function* ({ versions }, { time }) {
    yield* versions.put(row(1))
    const first = Option.getOrThrow(yield* versions.get("Balances", 1))
    for (const revision of [0, 2]) {
      assert.deepEqual(yield* refusal(versions.put(row(1, { heard: 9, revision }))), changed("Balances", 1))
    }
    assert.deepEqual(yield* refusal(versions.put(row(2, { revision: 1 }))), changed("Balances", 2))
    assert.deepEqual(yield* versions.list(), [first])
    yield* time.pass
    yield* versions.put({ ...first, mode: "inline", heard: 9 })
    const second = Option.getOrThrow(yield* versions.get("Balances", 1))
    assert.deepEqual(entry(second), { ...entry(first), mode: "inline", heard: 9, revision: 2 })
    assert.ok(DateTime.toEpochMillis(second.updatedAt) > DateTime.toEpochMillis(first.updatedAt))
    // What is written may be less than what was there.
    yield* versions.put({ ...second, mode: "async", heard: 3, target: Option.some(8) })
    const third = Option.getOrThrow(yield* versions.get("Balances", 1))
    assert.deepEqual(entry(third), { ...entry(first), heard: 3, target: 8, revision: 3 })
  }),

  every("of many that write one version at once exactly one wins", function* ({ versions }) {
    for (const revision of [0, 1]) {
      const { lost, won } = yield* race(range(1, 10).map((heard) => versions.put(row(1, { heard, revision }))))
      assert.equal(won.length, 1)
      assert.deepEqual(
        lost,
        range(1, 9).map(() => changed("Balances", 1))
      )
      assert.equal(Option.getOrThrow(yield* versions.get("Balances", 1)).revision, revision + 1)
    }
  }),

  every("one version of a projection is active, whichever are written", function* (checkpoints) {
    const { versions } = checkpoints
    yield* versions.put(row(2, { heard: 5, target: Option.some(7) }))
    yield* versions.activate("Balances", 2, Option.none())
    yield* versions.activate("Others", 1, Option.none())
    assert.deepEqual(yield* activeOf(checkpoints, "Balances"), [2])
    const two = Option.getOrThrow(yield* versions.get("Balances", 2))
    assert.deepEqual(entry(two), { ...row(2), active: true, heard: 5, target: 7, revision: 2 })
    yield* versions.put({ ...two, mode: "inline" })
    assert.deepEqual(yield* activeOf(checkpoints, "Balances"), [2])
    // One that nobody has written begins here.
    yield* versions.activate("Balances", 3, Option.some(2))
    assert.deepEqual(yield* activeOf(checkpoints, "Balances"), [3])
    const [, three] = (yield* versions.list("Balances")).map(entry)
    assert.deepEqual(three, { ...row(3), active: true, target: undefined, revision: 1 })
    yield* versions.activate("Balances", 2, Option.some(3))
    assert.deepEqual(yield* activeOf(checkpoints, "Balances"), [2])
    assert.equal(Option.getOrThrow(yield* versions.get("Balances", 2)).mode, "inline")
    assert.deepEqual(yield* activeOf(checkpoints, "Others"), [1])
  }),

  every("who activates a version must have seen which one is active", function* (checkpoints) {
    const { versions } = checkpoints
    assert.deepEqual(yield* refusal(versions.activate("Balances", 1, Option.some(2))), changed("Balances", 1))
    assert.deepEqual(yield* refusal(versions.activate("Balances", 1, Option.some(1))), changed("Balances", 1))
    assert.deepEqual(yield* versions.list(), [])
    yield* versions.activate("Balances", 1, Option.none())
    yield* versions.put(row(2))
    const before = yield* versions.list()
    for (const version of [1, 2, 3]) {
      assert.deepEqual(yield* refusal(versions.activate("Balances", version, Option.none())), changed("Balances", version))
    }
    assert.deepEqual(yield* refusal(versions.activate("Balances", 3, Option.some(2))), changed("Balances", 3))
    assert.deepEqual(yield* versions.list(), before)
    // It is so already.
    yield* versions.activate("Balances", 1, Option.some(1))
    assert.deepEqual(yield* activeOf(checkpoints, "Balances"), [1])
  }),

  every("of many that activate versions at once exactly one wins", function* (checkpoints) {
    const { versions } = checkpoints
    let instead = Option.none<number>()
    for (const round of range(0, 2)) {
      const { lost, won } = yield* race(range(1, 8).map((n) => versions.activate("Balances", 10 * round + n, instead)))
      assert.deepEqual([won.length, lost.length], [1, 7])
      const active = yield* activeOf(checkpoints, "Balances")
      assert.equal(active.length, 1)
      instead = Option.fromUndefinedOr(active[0])
    }
  }),

  every("a version that is dropped is not active, and comes back as async", function* (checkpoints) {
    const { versions } = checkpoints
    yield* versions.activate("Balances", 1, Option.none())
    yield* versions.put(row(1, { mode: "dropped", heard: 4, revision: 1 }))
    const [dropped] = (yield* versions.list()).map(entry)
    assert.deepEqual(dropped, { ...row(1), mode: "dropped", active: false, target: undefined, heard: 4, revision: 2 })
    yield* versions.activate("Balances", 1, Option.none())
    const [back] = (yield* versions.list()).map(entry)
    assert.deepEqual(back, { ...row(1), mode: "async", active: true, target: undefined, heard: 4, revision: 3 })
  }),

  every("a version that makes no sense is refused, and writes nothing", function* ({ versions }) {
    for (const projection of ["", "x".repeat(256), "a\u0000b", "\ud800"]) {
      const bad = { ...error("put", projection), cause: undefined }
      assert.deepEqual(withoutCause(yield* refusal(versions.put(row(1, { projection })))), bad)
      const activating = yield* refusal(versions.activate(projection, 1, Option.none()))
      assert.deepEqual(withoutCause(activating), { ...bad, operation: "activate" })
    }
    const bad = { ...error("put", "Balances"), cause: undefined }
    for (const version of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
      assert.deepEqual(withoutCause(yield* refusal(versions.put(row(version)))), bad)
      assert.deepEqual(withoutCause(yield* refusal(versions.get("Balances", version))), { ...bad, operation: "get" })
    }
    for (const position of [-1, 1.5, Number.NaN, 2 ** 53]) {
      assert.deepEqual(withoutCause(yield* refusal(versions.put(row(1, { heard: position })))), bad)
      assert.deepEqual(withoutCause(yield* refusal(versions.put(row(1, { target: Option.some(position) })))), bad)
      assert.deepEqual(withoutCause(yield* refusal(versions.put(row(1, { revision: position })))), bad)
    }
    assert.deepEqual(yield* versions.list(), [])
  })
]
