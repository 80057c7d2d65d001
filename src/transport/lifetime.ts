import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { wholeOrEndless } from "../internal/counting.ts"
import { unavailable } from "./failing.ts"
import { GroupInUseError, type SubscribeOptions, type Transport, type TransportError } from "./service.ts"
import { tracing } from "./tracing.ts"

/** What is said of a transport whose Layer has closed. */
const closedDetail = "the transport's Layer has been closed"

/**
 * The failure of whatever is asked of a transport whose Layer has closed.
 *
 * @category errors
 * @since 0.2.0
 */
export const closed = (operation: string): TransportError => unavailable(operation, closedDetail)

/** Throws a `RangeError` where no message could ever be handed out. */
const checkOptions = ({ concurrency, group }: SubscribeOptions): void => {
  if (concurrency !== undefined) wholeOrEndless(1, `Transport: concurrency of the group ${JSON.stringify(group)}`, concurrency)
}

/**
 * A service that ends with the scope, and whose messages name the span of their publisher where they name none. Whoever publishes or
 * subscribes later, or does so at that moment, gets a `TransportError`: what ends inside of the transport is no interruption of its
 * caller. A group is not forgotten while there are subscriptions of it here.
 *
 * **Gotchas**
 *
 * Make it last: then its end comes before that of connections and members.
 *
 * @category constructors
 * @since 0.2.0
 */
export const untilClosed = Effect.fnUntraced(function* (
  service: Transport["Service"]
): Effect.fn.Return<Transport["Service"], never, Scope.Scope> {
  let isClosed = false
  const subscriptions = new Map<string, number>()
  const count = (group: string, by: number) =>
    Effect.sync(() => void subscriptions.set(group, (subscriptions.get(group) ?? 0) + by))
  yield* Effect.addFinalizer(() => Effect.sync(() => (isClosed = true)))
  const publish = tracing(service.publish)
  const ended = (cause: Cause.Cause<GroupInUseError | TransportError>) => isClosed && Cause.hasInterruptsOnly(cause)
  const { findings, waiting } = service
  const unlessClosed = <A>(operation: string, effect: Effect.Effect<A, TransportError>): Effect.Effect<A, TransportError> =>
    Effect.suspend(() => (isClosed ? Effect.fail(closed(operation)) : effect))
  return {
    ...(findings === undefined ? {} : { findings: unlessClosed("findings", findings) }),
    ...(waiting === undefined ? {} : { waiting: (group) => unlessClosed("waiting", waiting(group)) }),
    publish: (messages) =>
      Effect.suspend(() =>
        isClosed
          ? Effect.fail(closed("publish"))
          : Effect.catchCauseIf(publish(messages), ended, () => Effect.fail(closed("publish")))
      ),
    subscribe: (options) =>
      Stream.suspend(() =>
        isClosed
          ? Stream.fail(closed("subscribe"))
          : Stream.unwrap(
              Effect.as(
                Effect.acquireRelease(
                  Effect.suspend(() => {
                    checkOptions(options)
                    return count(options.group, 1)
                  }),
                  () => count(options.group, -1)
                ),
                Stream.catchCauseIf(service.subscribe(options), ended, () => Stream.fail(closed("subscribe")))
              )
            )
      ),
    forget: (group) =>
      Effect.suspend(() => {
        const members = subscriptions.get(group) ?? 0
        if (isClosed) return Effect.fail(closed("forget"))
        if (members > 0) return Effect.fail(new GroupInUseError({ group, detail: "members of this process subscribe to it" }))
        subscriptions.delete(group)
        return Effect.catchCauseIf(service.forget(group), ended, () => Effect.fail(closed("forget")))
      })
  }
})

/**
 * The members that a transport has in this process.
 *
 * @category models
 * @since 0.2.0
 */
export interface Members<M> {
  /** Those who have joined and not left. */
  readonly present: ReadonlySet<M>
  /**
   * A member joins. `leave` is run once: when the scope of its subscription closes, or before that with the Layer. Returns the
   * scope of its membership, for its fibers: they end before it leaves.
   */
  readonly join: (member: M, leave: Effect.Effect<void>) => Effect.Effect<Scope.Scope, never, Scope.Scope>
}

/**
 * No members yet. Those who are there when the scope closes leave all at once.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeMembers = Effect.fnUntraced(function* <M>(): Effect.fn.Return<Members<M>, never, Scope.Scope> {
  const memberships = yield* Scope.fork(yield* Effect.scope, "parallel")
  const present = new Set<M>()
  return {
    present,
    join: (member, leave) =>
      Effect.acquireRelease(Scope.fork(memberships), (scope, exit) => Scope.close(scope, exit)).pipe(
        Effect.tap((scope) => {
          present.add(member)
          return Scope.addFinalizer(
            scope,
            Effect.suspend(() => {
              present.delete(member)
              return leave
            })
          )
        }),
        Effect.uninterruptible
      )
  }
})
