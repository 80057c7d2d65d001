import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { findSubscription, Inside, missedBeyond } from "../following/engine.ts"
import { subscriptionCheckpoint } from "../following/names.ts"
import * as Subscription from "../following/Subscription.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import { ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { type Progress, type Projection, RebuildError, type RunsInlineError, type StorageError } from "./model.ts"
import { begin, clear, entryOf, positionOf, transaction } from "./registry.ts"
import { checkOptions, follower } from "./running.ts"
import { positions, progressTo } from "./waiting.ts"

/**
 * Builds the view of this version from the beginning, up to the newest event there is when it is called, and says how far it is.
 *
 * It first empties the view, sets its checkpoint back, forgets what had been parked (where `ParkedEvents` is provided: without, do
 * not replay that later), and fences whoever runs the version: one transaction. From then on it is a follower like any other, so a
 * {@link layer} of this version (in any process) stands by or does the work, and goes on at the end. Ended early, however rudely, it
 * goes on where it was when it is called again, or when a `layer` runs; once it has come to its end, the next call begins anew.
 * Where events that it handles were removed, or moved to an archive that is not read through, it is refused with a {@link RebuildError} before
 * anything is emptied, unless `removed` is `"skip"`.
 *
 * An event that cannot be handled fails the rebuild with a {@link RebuildError}, and what has been folded until then stays; or it is parked,
 * and the rebuild goes on: by `onFailure`. By default that is what the {@link layer} of this version does that runs in this process, and
 * `"halt"` where none does. Say it where you rebuild by a script what parks elsewhere.
 *
 * Side effects ({@link sideEffect}) are not repeated, nor done for events that had been parked before.
 *
 * Until it is done the version's view is incomplete. To serve meanwhile, build a new version and then {@link switchTo} it. With
 * `transactional: false`, end the `layer` of this version before.
 *
 * Inside of a handler of this version, and inside of a transaction, it is refused with a {@link RebuildError} and changes nothing: it would
 * wait for what waits for it.
 *
 * @category running
 * @since 0.1.0
 */
export const rebuild = <R, D, const T extends boolean = true, const P extends Subscription.OnFailure = "halt">(
  projection: Projection<R, D>,
  options: Pick<Subscription.Options<P, T>, "batch" | "retry" | "lease" | "onFailure" | "transactional" | "removed"> = {}
): Stream.Stream<
  Progress,
  StorageError | ParkedEventsError | RunsInlineError | RebuildError,
  Subscription.Requirements<R | D, P, T>
> =>
  Stream.unwrap(
    Effect.gen(function* () {
      checkOptions(projection, options)
      const found = yield* findSubscription(projection.subscription)
      const running = found?.isStopped() === false ? found : undefined
      // Where no policy was told it is that of the running Layer, which needs no more than what that one has.
      const onFailure = options.onFailure ?? (running?.onFailure as P | undefined)
      const provided = rebuilding(projection, { ...options, onFailure })
      const isParking = Option.isSome(yield* Effect.serviceOption(ParkedEvents))
      return running?.parking === undefined || isParking
        ? provided
        : Stream.provideService(provided, ParkedEvents, running.parking)
    })
  ) as Stream.Stream<
    Progress,
    StorageError | ParkedEventsError | RunsInlineError | RebuildError,
    Subscription.Requirements<R | D, P, T>
  >

const rebuilding = <R, D, T extends boolean, P extends Subscription.OnFailure>(
  projection: Projection<R, D>,
  options: Pick<Subscription.Options<P, T>, "batch" | "retry" | "lease" | "onFailure" | "transactional" | "removed">
) =>
  Stream.unwrap(
    Effect.gen(function* () {
      yield* refuseInside(projection)
      yield* begin(projection, options.transactional)
      const head = yield* EventStore.use((store) => store.head)
      yield* transaction(startAnew(projection, head, options.removed), options.transactional)
      const registry = new Map<string, Subscription.Controls>()
      const counter = makeCounter()
      yield* Effect.provideService(
        Layer.build(follower<R, D, P, T>(projection, options, yield* Checkpoints, counter.handled)),
        Subscription.Registry,
        registry
      )
      const here = Effect.sync(() => registry.get(subscriptionCheckpoint(projection.subscription))?.status)
      return positions(projection, head, here).pipe(
        Stream.map((position): Progress => ({ position, head, handled: counter.upTo(position) })),
        Stream.merge(halted(projection, registry), { haltStrategy: "left" })
      )
    })
  )

/** Refuses to rebuild where it would wait for what waits for it: in a handler of this version, or in a transaction. */
const refuseInside = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>) {
  const { name, subscription, version } = projection
  const refuse = (where: string) =>
    Effect.flatMap(positionOf(projection), (position) =>
      Effect.fail(
        new RebuildError({ projection: name, version, position, cause: new Error(`it cannot be rebuilt inside of ${where}`) })
      )
    )
  if ((yield* Inside).has(subscription)) return yield* refuse("a handler of its own")
  const sql = Option.getOrUndefined(yield* Effect.serviceOption(SqlClient.SqlClient))
  if (sql === undefined) return
  const transaction = yield* Effect.serviceOption(sql.transactionService)
  if (Option.isSome(transaction)) return yield* refuse("a transaction: what it does there, nobody sees before that has ended")
})

/** Empties the view and sets its checkpoint back, unless a rebuild has begun before that is not done. */
const startAnew = <R, D>(projection: Projection<R, D>, head: number, removed: "halt" | "skip" | undefined) =>
  Effect.gen(function* () {
    const target = Option.getOrElse((yield* entryOf(projection)).target, () => 0)
    const before = yield* positionOf(projection)
    // Where the log is another one, as after a restore from a backup, there is nothing to go on with.
    const begun = before > 0 && before <= head && target > 0
    const isUnderWay = Effect.map(progressTo(projection, target), ({ done }) => !done).pipe(
      Effect.catchTags({
        CheckpointAheadError: () => Effect.succeed(false),
        CheckpointContradictedError: () => Effect.succeed(false)
      })
    )
    if (begun && (yield* isUnderWay)) return
    if (removed !== "skip") {
      // The view stays as it is: what is gone cannot be put into it again.
      const cause = yield* missedBeyond({ store: yield* EventStore, filter: projection.filter }, 0)
      const { name, version } = projection
      if (cause !== undefined) return yield* new RebuildError({ projection: name, version, position: before, cause })
    }
    yield* clear(projection, head)
  })

/** Counts the events that have been handled, once the checkpoint has passed them. */
const makeCounter = () => {
  const beyond = new Set<number>()
  let count = 0
  return {
    handled: (position: number) => void beyond.add(position),
    upTo: (checkpoint: number) => {
      for (const position of beyond) {
        if (position > checkpoint) continue
        beyond.delete(position)
        count++
      }
      return count
    }
  }
}

/** Fails when the follower halts. */
const halted = <R, D>(
  { name, subscription, version }: Projection<R, D>,
  registry: ReadonlyMap<string, Subscription.Controls>
): Stream.Stream<never, RebuildError> =>
  Stream.unwrap(
    Effect.map(Effect.fromNullishOr(registry.get(subscriptionCheckpoint(subscription))).pipe(Effect.orDie), ({ status }) =>
      SubscriptionRef.changes(status)
    )
  ).pipe(
    Stream.filter(({ state }) => state === "halted"),
    Stream.take(1),
    Stream.mapEffect(({ cause, position }) =>
      Effect.fail(
        new RebuildError({
          projection: name,
          version,
          position,
          cause: Option.match(cause, { onNone: () => "halted", onSome: Cause.squash })
        })
      )
    )
  )
