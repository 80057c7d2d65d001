/** The words in which the cases for stores are written. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { NewEvent, RecordedEvent } from "../../definitions/stored.ts"
import * as EventStore from "../../store/EventStore.ts"
import { verifyStore } from "../../store/verify.ts"
import { range, words, type World } from "../suite.ts"

export type Store = EventStore.EventStore["Service"]
type Open = Effect.Effect<Store, unknown, Scope.Scope>

export const { Any, Exists, NoStream } = EventStore.ExpectedVersion

export const event = (more: Partial<NewEvent> = {}): NewEvent => ({ type: "Happened", payload: {}, ...more })

/** Events with the payloads `{ n: from }`, `{ n: from + 1 }`, … */
export const numbered = (count: number, from = 1): ReadonlyArray<NewEvent> =>
  Array.from({ length: count }, (_, index) => ({ type: "Numbered", payload: { n: from + index } }))

/** Events with these ids. */
export const named = (...ids: ReadonlyArray<string>): ReadonlyArray<NewEvent> => ids.map((id) => event({ id }))

export const enrolled = (course: string, more: Partial<NewEvent> = {}) =>
  event({ type: "Enrolled", tags: [`course:${course}`], ...more })

/** What a program without types could pass. */
export const untyped = <A>(value: unknown): A => value as A

export const concurrently = <A, B, E, R>(items: Iterable<A>, f: (item: A, index: number) => Effect.Effect<B, E, R>) =>
  Effect.forEach(items, f, { concurrency: "unbounded" })

/** An event with its instant as a number, for comparison. */
export const plain = (event: RecordedEvent) => ({ ...event, recordedAt: DateTime.toEpochMillis(event.recordedAt) })

export const collect = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(plain))

export const versionsOf = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(({ version }) => version))

export const positionsOf = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(({ position }) => position))

/** Everything that stands in the store. */
export const contents = Effect.fnUntraced(function* (store: Store) {
  return {
    head: yield* store.head,
    events: yield* collect(store.readAll()),
    streams: (yield* Stream.runCollect(store.streams())).map((info) => ({
      ...info,
      recordedAt: info.recordedAt.epochMilliseconds
    }))
  }
})

/** What must hold of every store at every moment of rest: returns the events. */
export const sound = Effect.fnUntraced(function* (store: Store) {
  const { events, head, streams } = yield* contents(store)
  assert.deepEqual(
    events.map(({ position }) => position),
    range(1, head),
    "positions are dense and ascend"
  )
  const newest = new Map<string, (typeof streams)[number]>()
  for (const { position, recordedAt, stream, type, version } of events) {
    assert.equal(version, (newest.get(stream)?.version ?? 0) + 1, `versions of ${stream} are dense in position order`)
    newest.set(stream, { stream, category: EventStore.categoryOf(stream), version, position, type, recordedAt })
  }
  assert.deepEqual(
    streams,
    Array.from(newest.values()).sort((a, b) => compareCodePoints(a.stream, b.stream)),
    "streams() tells of each"
  )
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, "ids are unique")
  return events
})

/** Where a hash chain is kept, it is whole. */
const chained = (store: Store) =>
  Effect.flatMap(store.maintenance?.linkBefore(Number.MAX_SAFE_INTEGER) ?? Effect.undefined, (link) =>
    link === undefined ? Effect.void : verifyStore(store)
  )

export const compareCodePoints = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** The error of an effect that must fail, as a plain object. */
export const refusal = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<object, never, R> =>
  Effect.matchEffect(effect, {
    onFailure: (error) => Effect.succeed(facts(error)),
    onSuccess: (value) => Effect.die(new assert.AssertionError({ message: `It succeeded, with ${inspect(value)}` }))
  })

const facts = (error: unknown): object => {
  assert.ok(error instanceof Error, `an error, not ${inspect(error)}`)
  return { ...error }
}

/** The same, of an append: it must also have written nothing. */
export const refused = Effect.fnUntraced(function* <A, E>(store: Store, append: Effect.Effect<A, E>) {
  const before = yield* contents(store)
  const error = yield* refusal(append)
  assert.deepEqual(yield* contents(store), before, "a refused append writes nothing")
  return error
})

/** What an append comes to, as plain objects that can be compared. */
export const verdict = <A, E, R>(append: Effect.Effect<A, E, R>): Effect.Effect<unknown, never, R> =>
  Effect.match(append, { onFailure: facts, onSuccess: (value) => value })

export const lockError = (stream: string, expected: EventStore.ExpectedVersion, actual: number) => ({
  _tag: "OptimisticLockError",
  stream,
  expected,
  actual
})

export const duplicate = (stream: string, id: string) => ({ _tag: "DuplicateEventError", stream, id })

/** What an append is refused with whose condition is broken by the event at `position`. */
export const conditionError = (position: number, { after = 0, afterId, filter }: EventStore.AppendCondition) => ({
  _tag: "AppendConditionError",
  position,
  condition: { filter: Array.isArray(filter) ? filter : [filter], after, ...(afterId === undefined ? {} : { afterId }) }
})

/** Numbers the outcomes of a race by kind, and insists that its losers lost in the way they should. */
export const race = <A, E>(attempts: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.map(concurrently(attempts, Effect.result), (results) => ({
    won: results.filter(Result.isSuccess).map(({ success }) => success),
    lost: results.filter(Result.isFailure).map(({ failure }) => facts(failure))
  }))

/** One life of a store: opened, used, closed. */
export const life = <A, E>(open: Open, use: (store: Store) => Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(open, use))

/** Each `every` and `shared` case ends with the store, or both of them, sound, and with its chain whole. */
export const { every, opened, reopened, shared } = words<Store, World<Store>, "removes" | "chain">((store) =>
  Effect.andThen(sound(store), chained(store))
)
