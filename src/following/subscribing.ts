/**
 * A subscription, or a partition of one: what its follower reads, and what it does with it.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { provideBuilt } from "../definitions/services.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import { dealWith } from "./batches.ts"
import type { Following } from "./body.ts"
import type { Handling } from "./handling.ts"
import { EventRetryError, type OnFailure, type Options, type Requirements, type Retried } from "./model.ts"
import { partitionName, subscriptionCheckpoint } from "./names.ts"
import { partitionOf } from "./partitions.ts"
import type { Log } from "./progress.ts"
import { readingOf, standing } from "./reading.ts"
import { retryAll, retryOne, type RetryError } from "./retryingParked.ts"
import { type Follower, makeFollower } from "./running.ts"
import { retrying } from "./settling.ts"
import { isOrdered, leaseTime, metersOf, type Outage, type Partition, type Place, type Work } from "./work.ts"

/** A subscription, or a partition of one, that is not running yet. */
export interface Subscribed extends Follower<Outage> {
  readonly retry: (position: number) => Effect.Effect<void, RetryError>
  readonly retryParked: (stream: string | undefined) => Effect.Effect<Retried, ParkedEventsError | EventStoreError>
}

/** Makes a subscription, or a partition of one. */
export const subscribe = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>,
  { check, from, owner, partition }: Place
): Effect.fn.Return<Subscribed, never, Requirements<R, P, T>> {
  const { name } = options
  const context: Context.Context<Exclude<R, Scope.Scope>> = yield* Effect.context<Exclude<R, Scope.Scope>>()
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const client = options.transactional === true ? yield* Effect.serviceOption(SqlClient.SqlClient) : Option.none()
  if (Option.isSome(client) && checkpoints.transactionService?.key !== client.value.transactionService.key) {
    return yield* Effect.die(
      new Error(
        `The subscription "${name}" is transactional, and the Checkpoints do not commit with the SqlClient provided here. Provide both from one database, or set transactional: false.`
      )
    )
  }
  const title = partition === undefined ? name : partitionName(name, partition.index, partition.count)
  const work: Work<R> = {
    name,
    ttl: leaseTime(options),
    options,
    handling,
    partition,
    store: yield* EventStore,
    checkpoints,
    parking: Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents)),
    client: Option.getOrUndefined(client),
    provide: provideBuilt<R, Scope.Scope>(context),
    meters: metersOf(name, partition),
    caution: { alone: false, position: 0, times: 0 }
  }
  const log: Log = {
    store: work.store,
    filter: handling.filter,
    removed: options.removed,
    isOwn: partition === undefined ? undefined : ({ stream }) => partitionOf(stream, partition.count) === partition.index
  }
  const follower = yield* makeFollower<RecordedEvent, Outage>(
    {
      meters: work.meters,
      title: `subscription "${title}"`,
      name: title,
      checkpoint: subscriptionCheckpoint(title),
      attributes: work.meters.of,
      settings: { batch: options.batch ?? 256, afterPages: "look" },
      owner,
      ttl: work.ttl,
      shared: partition !== undefined,
      from,
      restart: defaultRestart,
      check,
      ...(partition === undefined ? readingOf(log) : { read: readingPart(work, partition) }),
      log,
      work: (batch, context) => dealWith(work, batch, context),
      episodes: partition?.episodes,
      onChange: partition?.onChange
    },
    partition === undefined ? "starting" : "standby"
  )
  // Two of one stream at once would not be in order.
  const turns = isOrdered(work) ? Semaphore.makeUnsafe(1) : undefined
  const refuseOne = (position: number) => (cause: Error) =>
    Effect.fail(new EventRetryError({ subscription: name, position, cause }))
  const refuseAll = (cause: Error) => Effect.fail(new ParkedEventsError({ operation: "retry", cause }))
  return {
    ...follower,
    retry: (position) => retrying(name, retryOne(work, position), refuseOne(position), turns),
    retryParked: (stream) => retrying(name, retryAll(work, stream), refuseAll, turns)
  }
})

/** Reads what is a partition's own: with the others of its group, as long as it keeps up. */
const readingPart =
  <R>({ handling: { filter }, store }: Work<R>, { count, index, tail }: Partition): Following<RecordedEvent, Outage>["read"] =>
  (after, arrived) => {
    let passed = after
    const take = (page: ReadonlyArray<RecordedEvent>) => {
      const own = standing(page).filter(({ stream }) => partitionOf(stream, count) === index)
      passed = Math.max(passed, page.at(-1)?.position ?? 0)
      return arrived(own, passed)
    }
    return Effect.forever(
      Effect.suspend(() => {
        const next = tail.next(passed)
        if (next !== undefined) return Effect.flatMap(next, take)
        // Behind what is shared: this partition reads by itself, until it has come up with the others.
        return Effect.flatMap(store.readPage({ after: passed, upTo: tail.begin(), filter }), ({ events, position }) => {
          passed = Math.max(passed, position)
          return take(events)
        })
      })
    )
  }
