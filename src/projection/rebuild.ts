import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { subscriptionCheckpoint } from "../following/names.ts"
import * as Subscription from "../following/Subscription.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import { type Progress, type Projection, RebuildError, type RunsInlineError, type StorageError } from "./model.ts"
import { begin, forTables, known, markOf, seize, startOver, transaction } from "./registry.ts"
import { follower } from "./running.ts"
import { positions, standing } from "./waiting.ts"

/**
 * Builds the view of this version from the beginning, up to the newest event there is when it is called, and says how far it is.
 *
 * It first empties the view, sets its checkpoint back, forgets what had been parked (where `ParkedEvents` is provided: without, do
 * not replay that later), and fences whoever runs the version: one transaction. From then on it is a follower like any other, so a
 * {@link layer} of this version (in any process) stands by or does the work, and goes on at the end. Ended early, however rudely, it
 * goes on where it was when it is called again, or when a `layer` runs; once it has come to its end, the next call begins anew.
 * Side effects ({@link sideEffect}) are not repeated, nor done for events that had been parked before.
 *
 * Until it is done the version's view is incomplete. To serve meanwhile, build a new version and then {@link switchTo} it. With
 * `transactional: false`, end the `layer` of this version before.
 *
 * @category running
 * @since 0.1.0
 */
export const rebuild = <R, D, const T extends boolean = true>(
  projection: Projection<R, D>,
  options: Pick<Subscription.Options<"halt", T>, "batch" | "retry" | "lease" | "transactional"> = {}
): Stream.Stream<
  Progress,
  StorageError | ParkedEventsError | RunsInlineError | RebuildError,
  Subscription.Requirements<R | D, "halt", T>
> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { name, reset, subscription, version } = projection
      yield* begin(projection, options.transactional)
      const head = yield* EventStore.use((store) => store.head)
      yield* transaction(
        Effect.gen(function* () {
          const mark = yield* known(markOf(projection))
          const before = yield* known(`subscription:${subscription}`)
          const target = Number(Option.getOrElse(mark.owner, () => 0))
          // Beyond the log there is nothing to go on with: it has been restored from a backup.
          const begun = before.position > 0 && before.position <= head && target > 0
          if (begun && !(yield* standing(projection, target)).done) return
          // Like those who fold events into it: the view first, then the checkpoint. Otherwise they could wait for each other.
          yield* forTables(projection, ({ empty }) => [empty])
          yield* reset
          const { position } = yield* startOver(projection)
          // What has never run has nothing to repeat, and begins silently all the same.
          const heard = position > 0 ? Math.max(mark.position, position) : mark.position > 0 ? mark.position : head
          yield* seize(markOf(projection), { position: Math.min(heard, head), owner: String(head) })
        }),
        options.transactional
      )
      const beyond = new Set<number>()
      const registry = new Map<string, Subscription.Controls>()
      const handled = (upTo: number) => {
        for (const position of beyond) {
          if (position > upTo) continue
          beyond.delete(position)
          count++
        }
        return count
      }
      let count = 0
      yield* Effect.provideService(
        Layer.build(follower<R, D, "halt", T>(projection, options, yield* Checkpoints, (position) => void beyond.add(position))),
        Subscription.Registry,
        registry
      )
      const halted = Stream.unwrap(
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
      const here = Effect.sync(() => registry.get(subscriptionCheckpoint(subscription))?.status)
      return positions(projection, head, here).pipe(
        Stream.map((position): Progress => ({ position, head, handled: handled(position) })),
        Stream.merge(halted, { haltStrategy: "left" })
      )
    })
  )
