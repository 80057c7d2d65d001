/**
 * What follows the log, placed by a cluster.
 *
 * `effect/cluster` is marked unstable: this may have to follow it in a minor release.
 *
 * @since 0.2.0
 */
import type * as Sharding from "effect/cluster/Sharding"
import * as Singleton from "effect/cluster/Singleton"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { makeEpisodes } from "../internal/episodes.ts"
import { defaultRestart, restarting } from "../internal/lifecycle.ts"
import { reasonOf } from "../sql/reasons.ts"

/**
 * A follower (a `Subscription`, a `Projection`, a `Relay`, a `ProcessManager`) that runs on one runner of the cluster at a time. Runners of a shard group of
 * their own keep it away from the machines that answer callers.
 *
 * The cluster decides where it runs, and its lease who may move its checkpoint: a runner that was frozen goes on beside its successor, and commits nothing.
 * When a runner dies both times add up, that of its locks and that of the lease, so give the follower a short lease: `lease: "3 seconds"`.
 *
 * What fails while it is built (a database that is away) is built again, at intervals of up to ten seconds, and the log says so.
 *
 * Without a cluster followers spread by themselves: see `Subscription`.
 *
 * **Gotchas**: the name is one of the cluster. Two followers of one name on a runner are a defect.
 *
 * ```ts
 * import { Effect, Layer, Queue } from "effect"
 * import { TestRunner } from "effect/cluster"
 * import { Checkpoints, EventStore, Subscription } from "eventfold"
 * import { Cluster } from "eventfold/cluster"
 *
 * const program = Effect.gen(function* () {
 *   const seen = yield* Queue.unbounded<string>()
 *   const Mails = Subscription.layer({ name: "mails", lease: "3 seconds", handler: ({ type }) => Queue.offer(seen, type) })
 *   yield* Layer.build(Cluster.follower("mails", Mails))
 *   yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
 *   return yield* Queue.take(seen)
 * })
 *
 * const Live = Layer.mergeAll(TestRunner.layer, EventStore.layerMemory, Checkpoints.layerMemory)
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => "Placed"
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const follower = <E, R>(
  name: string,
  layer: Layer.Layer<never, E, R>,
  options?: {
    /** The group of shards that it belongs to. Default: `"default"`. */
    readonly shardGroup?: string | undefined
  }
): Layer.Layer<never, never, Sharding.Sharding | R> =>
  Singleton.make(`eventfold/follower/${name}`, launched(name, layer), {
    ...(options?.shardGroup !== undefined && { shardGroup: options.shardGroup })
  })

/** Builds it until it can be built: a singleton that fails is not run again by the cluster while it has the shard. */
const launched = <E, R>(name: string, layer: Layer.Layer<never, E, R>): Effect.Effect<never, never, R> =>
  Effect.suspend(() => {
    const episodes = makeEpisodes(`the follower "${name}"`)
    const what = `eventfold: the follower "${name}" could not begin, and is tried again until it can`
    const built = Effect.andThen(Layer.build(layer), episodes.recovered(episodes))
    return restarting(() => Effect.scoped(Effect.andThen(built, Effect.never)), {
      schedule: defaultRestart,
      onFailure: (cause) => episodes.failed(episodes, { what, why: reasonOf(cause), cause }),
      onEnd: Effect.void
    })
  }).pipe(Effect.orDie)
