import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import { SubjectForgotten } from "../definitions/subjectForgotten.ts"
import { makeEpisodes } from "../internal/episodes.ts"
import { forgetKept } from "../internal/forgetting.ts"
import { defaultRestart, restarting } from "../internal/lifecycle.ts"
import { reasonOf } from "../sql/reasons.ts"
import { type AppendError, EventStore, InvalidAppendError } from "../store/EventStore.ts"
import { isInTransaction } from "../store/inTransaction.ts"
import { Keys, type KeysError, subjectFault } from "./subjectKeys.ts"

/**
 * Forgets a subject: from then on whatever is read of it is `Forgotten`, everywhere and for good. Gives the position of {@link SubjectForgotten},
 * by which a projection can be waited for.
 *
 * **Details**, step by step: nothing new of the subject is sealed; {@link SubjectForgotten} is appended to `$erasure-<subject>`, so that all who
 * follow hear of it; the key is destroyed; and `Keys.bound` is waited for, after which no process has it any more. Each step may be done
 * again: where one was cut off, the next call, or {@link layerEraser}, finishes it.
 *
 * **Gotchas**: it is an append of its own, also inside of a unit of work. Within a transaction of the store's database, as `UnitOfWork.layerSql`, an inbox and
 * transactional subscriptions open one, it is refused, before anything is done: what rolls that back would undo the append, and not the destroyed key. What a reader
 * has in hand at that moment it keeps; whoever holds copies in tables of their own forgets when they come to the event.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Keys, Personal, Repository } from "eventfold"
 *
 * const Registered = Event.make("Registered", {
 *   customer: Schema.String,
 *   email: Personal.field(Schema.String, { subject: "customer" })
 * })
 * const Customer = Aggregate.make("Customer", {
 *   events: [Registered],
 *   initial: "nobody",
 *   evolve: { Registered: (_, { email }) => Personal.getOrElse(email, () => "(forgotten)") }
 * })
 *
 * const program = Effect.gen(function* () {
 *   yield* Repository.append(Customer, "c1", [Registered.make({ customer: "c1", email: "ada@example.org" })])
 *   const before = yield* Repository.read(Customer, "c1")
 *   yield* Personal.forget("c1")
 *   const after = yield* Repository.read(Customer, "c1")
 *   return [before.state, after.state]
 * })
 *
 * const Live = Personal.layer.pipe(
 *   Layer.provide(EventStore.layerMemory),
 *   Layer.provideMerge(Keys.layerMemory),
 *   Layer.provide(Personal.layerCrypto)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["ada@example.org", "(forgotten)"]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const forget = (
  subject: string,
  options?: {
    /** Whether to wait for `Keys.bound`, so that no process reads the data any more. Default: `true`. */
    readonly wait?: boolean | undefined
  }
): Effect.Effect<number, KeysError | AppendError | Event.EventEncodeError, Keys | EventStore> =>
  Effect.gen(function* () {
    const keys = yield* Keys
    const store = yield* EventStore
    const stream = `$erasure-${subject}`
    const fault = subjectFault(subject)
    if (fault !== undefined) return yield* new InvalidAppendError({ stream, field: "subject", problem: fault })
    if (isInTransaction(store, yield* Effect.context())) {
      const problem = `must not be open: whatever rolls it back would undo this, and not that the key of ${JSON.stringify(subject)} is destroyed. Forget outside of it: before or behind the unit of work, or in the handler of a subscription that is not transactional`
      return yield* new InvalidAppendError({ stream, field: "the transaction", problem })
    }
    const generation = yield* keys.close(subject)
    const event = yield* Effect.fromResult(Event.encode(SubjectForgotten, SubjectForgotten.make({ subject, generation })))
    // The generation is part of the id: who was let in anew is forgotten anew.
    const { position } = yield* store.append(stream, [{ ...event, id: `$erasure:${subject}:${generation}` }])
    yield* keys.destroy(subject, generation)
    forgetKept()
    if (options?.wait !== false && Duration.toMillis(keys.bound) > 0) {
      yield* Effect.sleep(keys.bound)
      // What was being read with the keys meanwhile may have been kept since.
      forgetKept()
    }
    return position
  })

/**
 * Follows what is forgotten, from the beginning of the log: it finishes what a crash has cut off, forgets again what a restored backup of the keys
 * brought back, and lets this process forget what it keeps in memory: the states of `Repository.layerCache`, `Decision.layerCache` and of process managers. For each process
 * that reads personal data; it has no checkpoint, because keys may be restored without the log. What is done already costs a start one look at the
 * keys a page.
 *
 * What fails is tried again until it succeeds, and logged.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerEraser: Layer.Layer<never, never, EventStore | Keys> = Layer.effectDiscard(
  Effect.gen(function* () {
    const keys = yield* Keys
    const store = yield* EventStore
    const scope = yield* Effect.scope
    const clear = Effect.sync(forgetKept)
    const episodes = makeEpisodes("forgetting what the log says is forgotten")
    const recovered = Effect.suspend(() => (episodes.isFailing(episodes) ? episodes.recovered(episodes) : Effect.void))
    let after = 0
    const following = (progress: () => void) =>
      store.subscribe({ after, filter: { types: Event.storedTypes(SubjectForgotten), categories: ["$erasure"] } }).pipe(
        Stream.runForEachArray((page) =>
          Effect.gen(function* () {
            const decoded = page.map((recorded) => Event.decode(SubjectForgotten, recorded))
            const forgotten = new Map<string, number>()
            for (const { generation, subject } of Array.getSuccesses(decoded)) {
              forgotten.set(subject, Math.max(generation, forgotten.get(subject) ?? 0))
            }
            // Each process comes by all of them each time that it starts: what is done is looked up together.
            const left = keys.unfinished === undefined ? undefined : yield* keys.unfinished(forgotten)
            yield* clear
            for (const [index, recorded] of page.entries()) {
              const { generation, subject } = yield* Effect.fromResult(decoded[index] ?? Event.decode(SubjectForgotten, recorded))
              if (left?.has(subject) !== false) {
                yield* keys.close(subject, generation)
                yield* keys.destroy(subject, generation)
                yield* clear
              }
              after = recorded.position
            }
            progress()
            yield* recovered
          }).pipe(
            // What was being read with the keys meanwhile may have been kept since.
            Effect.ensuring(Effect.forkIn(Effect.andThen(Effect.sleep(keys.bound), clear), scope))
          )
        )
      )
    yield* restarting((progress) => Effect.andThen(following(progress), Effect.never), {
      schedule: defaultRestart,
      onFailure: (cause) =>
        episodes.failed(episodes, {
          what: "eventfold: forgetting what the log says is forgotten goes on later",
          why: reasonOf(cause),
          cause
        }),
      onEnd: Effect.void
    }).pipe(Effect.forkScoped)
  })
)
