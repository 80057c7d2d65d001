/**
 * The conformance suite for checkpoints: what every storage of them must do, as cases that any test runner can run.
 *
 * A case that cannot come to an end hangs: give the runner a time-out.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Checkpoints } from "eventfold"
 * import { CheckpointsConformance } from "eventfold/testing"
 *
 * const cases = CheckpointsConformance.cases({
 *   storage: Effect.succeed(Checkpoints.layerMemory), // each build of this Layer is new and empty
 *   abilities: { clock: "test", durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * const all = Effect.forEach(cases, ({ run }) => Effect.scoped(run), { discard: true })
 * await Effect.runPromise(Effect.provide(all, TestClock.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import assert from "node:assert/strict"
import { realSleep } from "../internal/realTime.ts"
import { type Checkpoint, type CheckpointError, Checkpoints, type Lease } from "../store/Checkpoints.ts"

/**
 * Makes new, empty storage and returns the Layer that opens it.
 *
 * With the ability `durable` or `shared`, building the Layer again opens the same storage again. Each build is made with a new
 * memo map, so whatever the Layer is made of is built anew too.
 *
 * @category models
 * @since 0.1.0
 */
export type Storage = Effect.Effect<Layer.Layer<Checkpoints, unknown>, unknown, Scope.Scope>

/**
 * What not every storage can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What leases run by: Effect's `Clock` (the cases then move a `TestClock`), or a clock that nobody can move. */
  readonly clock: "test" | "live"
  /** What was acknowledged is there after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built over the same storage at once see each other's checkpoints. */
  readonly shared: boolean
}

/**
 * One thing that a storage of checkpoints must do. It fails or dies (with an `AssertionError`) when the storage does not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** A sentence, unique among the cases. */
  readonly name: string
  /** Makes storage of its own, so cases may run in any order and at once. All is closed with the scope. */
  readonly run: Effect.Effect<void, unknown, Scope.Scope>
}

type Service = Checkpoints["Service"]
type Open = Effect.Effect<Service, unknown, Scope.Scope>

/** What the cases know of time. */
interface Time {
  /** How long a lease lasts that a case lets run out. */
  readonly short: Duration.Duration
  /** Lets some time pass: on a clock that can be moved, as much as a short lease lasts. */
  readonly pass: Effect.Effect<void>
}

type Body<A> = (input: A, time: Time) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

interface Definition {
  readonly name: string
  readonly needs: "durable" | "shared" | undefined
  readonly run: (open: Open, time: Time) => Effect.Effect<void, unknown, Scope.Scope>
}

/**
 * The cases that a storage with these abilities must pass.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: { readonly storage: Storage; readonly abilities: Abilities }): ReadonlyArray<Case> => {
  const time: Time =
    options.abilities.clock === "test"
      ? { short: Duration.seconds(10), pass: TestClock.adjust("10 seconds") }
      : { short: Duration.millis(200), pass: realSleep("10 millis") }
  return definitions
    .filter(({ needs }) => needs === undefined || options.abilities[needs])
    .map(({ name, run }) => ({ name, run: Effect.flatMap(options.storage, (layer) => run(build(layer), time)) }))
}

const build = (layer: Layer.Layer<Checkpoints, unknown>): Open =>
  Effect.flatMap(Effect.scope, (scope) =>
    Effect.map(Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope), Context.get(Checkpoints))
  )

const definitions: Array<Definition> = []

/** A case for every storage. */
const every = (name: string, body: Body<Service>): void => {
  definitions.push({
    name,
    needs: undefined,
    run: (open, time) => Effect.flatMap(open, (checkpoints) => Effect.gen(() => body(checkpoints, time)))
  })
}

/** A case that opens the storage itself: each `open` builds the Layer over the same storage, and closes with the scope it is given. */
const reopened = (name: string, body: Body<Open>): void => {
  definitions.push({ name, needs: "durable", run: (open, time) => Effect.gen(() => body(open, time)) })
}

/** A case for two instances over the same storage. */
const shared = (name: string, body: Body<readonly [Service, Service]>): void => {
  definitions.push({
    name,
    needs: "shared",
    run: (open, time) => Effect.flatMap(Effect.all([open, open]), (both) => Effect.gen(() => body(both, time)))
  })
}

const long = Duration.hours(1)

const range = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, index) => index + 1)

/** An error as a plain object, for comparison. */
const facts = (error: unknown): object => {
  assert.ok(error instanceof Error, `an error, not ${String(error)}`)
  return { ...error }
}

/** The error of an effect that must fail, as a plain object. */
const refusal = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<object> =>
  Effect.matchEffect(effect, {
    onFailure: (error) => Effect.succeed(facts(error)),
    onSuccess: (value) => Effect.die(new assert.AssertionError({ message: `It succeeded, with ${JSON.stringify(value)}` }))
  })

const held = (name: string, owner: string) => ({ _tag: "CheckpointHeldError", name, owner })
const fenced = ({ epoch, name }: Lease) => ({ _tag: "CheckpointFencedError", name, epoch })

/** What `refusal` gives of a `CheckpointError`, without its cause. */
const error = (operation: string, name: string) => ({ _tag: "CheckpointError", operation, name })
const withoutCause = (refused: object) => ({ ...refused, cause: undefined })

/** What is known of a name, with times as numbers. */
const known = Effect.fnUntraced(function* (checkpoints: Service, name: string) {
  const checkpoint = Option.getOrThrow(yield* checkpoints.get(name))
  return plain(checkpoint)
})

const plain = ({ expiresAt, owner, updatedAt, ...rest }: Checkpoint) => ({
  ...rest,
  owner: Option.getOrUndefined(owner),
  expiresAt: DateTime.toEpochMillis(expiresAt),
  updatedAt: DateTime.toEpochMillis(updatedAt)
})

/** Claims a name as soon as the lease that stands in the way has run out. */
const takeOver = (
  checkpoints: Service,
  time: Time,
  ...claim: Parameters<Service["claim"]>
): Effect.Effect<Lease, CheckpointError> =>
  Effect.catchTag(checkpoints.claim(...claim), "CheckpointHeldError", () =>
    Effect.flatMap(time.pass, () => takeOver(checkpoints, time, ...claim))
  )

/** Runs all at once: what the winners got, and the errors of the others. */
const race = <A, E>(attempts: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.map(Effect.forEach(attempts, Effect.result, { concurrency: "unbounded" }), (results) => ({
    won: results.filter(Result.isSuccess).map(({ success }) => success),
    lost: results.filter(Result.isFailure).map(({ failure }) => facts(failure))
  }))

every("a name that nobody has claimed is not known", function* (checkpoints) {
  assert.deepEqual(yield* checkpoints.get("absent"), Option.none())
  assert.deepEqual(yield* checkpoints.list, [])
})

every("a new name begins at position 0 with epoch 1, and its lease says so", function* (checkpoints) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: "1 hour" })
  assert.deepEqual(
    { ...lease, ttl: Duration.toMillis(lease.ttl) },
    { name: "mail", owner: "a", epoch: 1, position: 0, ttl: 3_600_000 }
  )
  const { expiresAt, updatedAt, ...rest } = yield* known(checkpoints, "mail")
  assert.deepEqual(rest, { name: "mail", position: 0, epoch: 1, owner: "a" })
  assert.ok(Math.abs(expiresAt - updatedAt - 3_600_000) <= 1, "it lasts for its whole time")
  assert.deepEqual((yield* checkpoints.list).map(plain), [yield* known(checkpoints, "mail")])
})

every("a new name begins where it is told to, and one that is known stays where it is", function* (checkpoints) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long, from: 7 })
  assert.equal(lease.position, 7)
  yield* checkpoints.release(yield* checkpoints.advance(lease, 9))
  for (const from of [3, 30]) {
    assert.equal((yield* checkpoints.claim("mail", { owner: "b", ttl: long, from })).position, 9)
  }
  assert.equal(
    (yield* checkpoints.claim("other", { owner: "b", ttl: long, from: Number.MAX_SAFE_INTEGER })).position,
    2 ** 53 - 1
  )
  assert.equal((yield* known(checkpoints, "other")).position, 2 ** 53 - 1)
})

every("a name that is held cannot be claimed by another, and the attempt changes nothing", function* (checkpoints) {
  yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
  const before = yield* known(checkpoints, "mail")
  assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
  assert.deepEqual(yield* known(checkpoints, "mail"), before)
  assert.equal((yield* checkpoints.claim("other", { owner: "b", ttl: long })).epoch, 1)
})

every("an owner may claim what it holds: the new lease supersedes the old one", function* (checkpoints) {
  const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
  const second = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  assert.deepEqual([second.epoch, second.position], [2, 5])
  assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
  assert.deepEqual(yield* refusal(checkpoints.advance(first, 6)), fenced(first))
  yield* checkpoints.release(first)
  assert.equal((yield* checkpoints.advance(second, 6)).position, 6)
})

every("a name that was released can be claimed at once, at the position it was left at", function* (checkpoints) {
  const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
  yield* checkpoints.release(first)
  const { owner, position } = yield* known(checkpoints, "mail")
  assert.deepEqual([owner, position], [undefined, 5])
  const second = yield* checkpoints.claim("mail", { owner: "b", ttl: long })
  assert.deepEqual([second.owner, second.epoch, second.position], ["b", 2, 5])
})

every("a lease that has run out gives way to another's claim", function* (checkpoints, time) {
  yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: time.short }), 5)
  const second = yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: long })
  assert.deepEqual([second.owner, second.epoch, second.position], ["b", 2, 5])
  assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long })), held("mail", "b"))
})

every("of many that claim a new name at once exactly one wins", function* (checkpoints) {
  const attempts = range(20).map((n) => checkpoints.claim("mail", { owner: `owner ${n}`, ttl: long }))
  const { lost, won } = yield* race(attempts)
  assert.equal(won.length, 1)
  assert.equal(won[0]?.epoch, 1)
  assert.deepEqual(
    lost,
    Array.from({ length: 19 }, () => held("mail", won[0]?.owner ?? ""))
  )
})

every("of many that wait for a lease to run out exactly one wins", function* (checkpoints, time) {
  yield* checkpoints.claim("mail", { owner: "a", ttl: time.short })
  const attempts = range(10).map((n) => checkpoints.claim("mail", { owner: `owner ${n}`, ttl: long }))
  let outcome = yield* race(attempts)
  while (outcome.won.length === 0) {
    yield* time.pass
    outcome = yield* race(attempts)
  }
  assert.equal(outcome.won.length, 1)
  assert.equal(outcome.won[0]?.epoch, 2)
})

every("renewing makes a lease last longer, and leaves the position alone", function* (checkpoints, time) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  const before = yield* known(checkpoints, "mail")
  yield* time.pass
  yield* checkpoints.renew(lease)
  const after = yield* known(checkpoints, "mail")
  assert.ok(after.expiresAt > before.expiresAt)
  assert.deepEqual({ ...after, expiresAt: 0 }, { ...before, expiresAt: 0 })
})

every("advancing moves the checkpoint and makes the lease last longer", function* (checkpoints, time) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  const before = yield* known(checkpoints, "mail")
  yield* time.pass
  assert.deepEqual(yield* checkpoints.advance(lease, 3), { ...lease, position: 3 })
  const after = yield* known(checkpoints, "mail")
  assert.ok(after.expiresAt > before.expiresAt)
  assert.ok(after.updatedAt > before.updatedAt)
  assert.deepEqual({ ...after, expiresAt: 0, updatedAt: 0 }, { ...before, position: 3, expiresAt: 0, updatedAt: 0 })
})

every("a lease that has run out is good until another claims the name", function* (checkpoints, time) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: Duration.millis(1) })
  yield* time.pass
  yield* checkpoints.renew(lease)
  yield* time.pass
  assert.equal((yield* checkpoints.advance(lease, 3)).position, 3)
})

every("a checkpoint advances step by step, each from where the one before ended", function* (checkpoints) {
  let lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  for (const position of [1, 2, 2, 100, 2 ** 31 + 1, Number.MAX_SAFE_INTEGER]) {
    lease = yield* checkpoints.advance(lease, position)
    assert.equal(lease.position, position)
    assert.equal((yield* known(checkpoints, "mail")).position, position)
  }
  assert.equal((yield* known(checkpoints, "mail")).epoch, 1)
})

every("a checkpoint that has moved cannot be moved from where it was", function* (checkpoints) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  yield* checkpoints.advance(lease, 5)
  for (const position of [0, 4, 5, 6]) assert.deepEqual(yield* refusal(checkpoints.advance(lease, position)), fenced(lease))
  assert.equal((yield* known(checkpoints, "mail")).position, 5)
})

every("of many that advance from one position at once exactly one wins", function* (checkpoints) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  const { lost, won } = yield* race(range(20).map((position) => checkpoints.advance(lease, position)))
  assert.equal(won.length, 1)
  assert.deepEqual(
    lost,
    Array.from({ length: 19 }, () => fenced(lease))
  )
  assert.equal((yield* known(checkpoints, "mail")).position, won[0]?.position)
})

every("a checkpoint never goes backwards, unless to the very beginning", function* (checkpoints) {
  const lease = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
  for (const position of [4, 1, -1]) {
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.advance(lease, position))), {
      ...error("advance", "mail"),
      cause: undefined
    })
  }
  assert.equal((yield* known(checkpoints, "mail")).position, 5)
  const further = yield* checkpoints.advance(lease, 6)
  const anew = yield* checkpoints.advance(further, 0)
  assert.deepEqual([anew, (yield* known(checkpoints, "mail")).position], [{ ...lease, position: 0 }, 0])
  assert.deepEqual(yield* refusal(checkpoints.advance(further, 7)), fenced(further))
  assert.equal((yield* checkpoints.advance(anew, 1)).position, 1)
})

every("a superseded owner can do nothing more, and its release does not touch the new lease", function* (checkpoints, time) {
  const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: time.short }), 5)
  const second = yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: long })
  const before = yield* known(checkpoints, "mail")
  assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
  assert.deepEqual(yield* refusal(checkpoints.advance(first, 6)), fenced(first))
  yield* checkpoints.release(first)
  assert.deepEqual(yield* known(checkpoints, "mail"), before)
  assert.equal((yield* checkpoints.advance(second, 6)).position, 6)
  // Not even once the new owner is gone.
  yield* checkpoints.release({ ...second, position: 6 })
  assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
  assert.deepEqual(yield* refusal(checkpoints.advance({ ...first, position: 6 }, 7)), fenced(first))
})

every("a lease that was released is good for nothing, and releasing it again does nothing", function* (checkpoints) {
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  yield* checkpoints.release(lease)
  const before = yield* known(checkpoints, "mail")
  assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
  assert.deepEqual(yield* refusal(checkpoints.advance(lease, 1)), fenced(lease))
  yield* checkpoints.release(lease)
  assert.deepEqual(yield* known(checkpoints, "mail"), before)
  yield* checkpoints.claim("mail", { owner: "b", ttl: long })
  yield* checkpoints.release(lease)
  assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long })), held("mail", "b"))
})

every("a lease of a name that does not exist is fenced", function* (checkpoints) {
  const lease: Lease = { name: "absent", owner: "a", epoch: 1, position: 0, ttl: long }
  assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
  assert.deepEqual(yield* refusal(checkpoints.advance(lease, 1)), fenced(lease))
  yield* checkpoints.release(lease)
  assert.deepEqual(yield* checkpoints.get("absent"), Option.none())
})

const oddNames = [
  "a",
  "A",
  "it's",
  `"quoted"`,
  "; drop table checkpoint; --",
  "back\\slash",
  "%",
  "$1",
  "line\nbreak",
  " ",
  "é",
  "e\u0301",
  "\uFF5E",
  "😀",
  "__proto__",
  "x".repeat(255)
]

every("any text can be a name or an owner, and names are listed in code point order", function* (checkpoints) {
  for (const [index, name] of oddNames.entries()) {
    const lease = yield* checkpoints.claim(name, { owner: name, ttl: long })
    yield* checkpoints.advance(lease, index)
  }
  const order = Array.from(oddNames.entries()).sort(([, a], [, b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  assert.deepEqual(
    (yield* checkpoints.list).map(({ epoch, name, owner, position }) => [name, Option.getOrUndefined(owner), position, epoch]),
    order.map(([index, name]) => [name, name, index, 1])
  )
  for (const [index, name] of oddNames.entries()) {
    assert.equal((yield* known(checkpoints, name)).position, index)
    assert.deepEqual(yield* refusal(checkpoints.claim(name, { owner: `${index}`, ttl: long })), held(name, name))
  }
})

every("what makes no sense is refused with an error that says so, and writes nothing", function* (checkpoints) {
  const bad = { ...error("claim", "mail"), cause: undefined }
  for (const name of ["", "x".repeat(256), "a\u0000b", "\ud800"]) {
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim(name, { owner: "a", ttl: long }))), { ...bad, name })
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: name, ttl: long }))), bad)
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.get(name))), { ...bad, operation: "get", name })
  }
  for (const ttl of [Duration.zero, Duration.millis(-1), Duration.infinity]) {
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl }))), bad)
  }
  for (const number of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long, from: number }))), bad)
  }
  assert.deepEqual(yield* checkpoints.list, [])
  const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  for (const number of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.deepEqual(withoutCause(yield* refusal(checkpoints.advance(lease, number))), { ...bad, operation: "advance" })
  }
  assert.equal((yield* checkpoints.advance(lease, 1)).position, 1)
})

every("an interrupted claim or advance has happened or has not, and leaves the storage usable", function* (checkpoints) {
  let lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
  for (const turns of range(20)) {
    const claim = yield* Effect.forkChild(checkpoints.claim("mail", { owner: "a", ttl: long }))
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
    yield* Fiber.interrupt(claim)
    lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    const advance = yield* Effect.forkChild(checkpoints.advance(lease, lease.position + 1))
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
    yield* Fiber.interrupt(advance)
    const { epoch, position } = yield* known(checkpoints, "mail")
    assert.equal(epoch, lease.epoch)
    assert.ok(position === lease.position || position === lease.position + 1)
    lease = yield* checkpoints.advance({ ...lease, position }, position)
  }
})

shared("two instances over one storage see each other's leases and positions", function* ([one, two]) {
  const lease = yield* one.advance(yield* one.claim("mail", { owner: "a", ttl: long }), 5)
  assert.deepEqual(yield* known(two, "mail"), yield* known(one, "mail"))
  assert.deepEqual(yield* refusal(two.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
  yield* one.release(lease)
  const other = yield* two.claim("mail", { owner: "b", ttl: long })
  assert.deepEqual([other.epoch, other.position], [2, 5])
  assert.deepEqual(yield* refusal(one.advance(lease, 6)), fenced(lease))
})

shared("of two instances that claim at once one wins, time after time", function* ([one, two]) {
  for (const epoch of range(25)) {
    const { lost, won } = yield* race([
      one.claim("mail", { owner: "a", ttl: long }),
      two.claim("mail", { owner: "b", ttl: long })
    ])
    const winner = won[0] as Lease
    assert.equal(won.length, 1)
    assert.equal(winner.epoch, epoch)
    assert.deepEqual(lost, [held("mail", winner.owner)])
    yield* one.release(winner)
  }
})

shared("an instance takes over when the other's lease has run out, and the other is fenced", function* ([one, two], time) {
  const lease = yield* one.claim("mail", { owner: "a", ttl: time.short })
  const taken = yield* takeOver(two, time, "mail", { owner: "b", ttl: long })
  assert.equal(taken.epoch, 2)
  const { lost, won } = yield* race([one.advance(lease, 9), two.advance(taken, 3)])
  assert.deepEqual([won.length, won[0]?.owner], [1, "b"])
  assert.deepEqual(lost, [fenced(lease)])
  assert.equal((yield* known(one, "mail")).position, 3)
})

reopened("position, epoch and lease are there after closing and opening again", function* (open) {
  const close = yield* Effect.scoped(
    Effect.gen(function* () {
      const checkpoints = yield* open
      yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
      return yield* known(checkpoints, "mail")
    })
  )
  const checkpoints = yield* open
  assert.deepEqual(yield* known(checkpoints, "mail"), close)
  assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
  assert.deepEqual(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), {
    name: "mail",
    owner: "a",
    epoch: 2,
    position: 5,
    ttl: long
  })
})
