import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as MessageBus from "../deciding/MessageBus.ts"
import * as Repository from "../deciding/Repository.ts"
import { storedTypes } from "../definitions/Event.ts"
import { readOwn } from "../definitions/listing.ts"
import { processName } from "../following/names.ts"
import { makeTurns } from "../internal/turns.ts"
import * as Subscription from "../following/Subscription.ts"
import type { Checkpoints } from "../store/Checkpoints.ts"
import type { EventStore } from "../store/EventStore.ts"
import type { ParkedEvents } from "../store/ParkedEvents.ts"
import { watchDeadlines } from "./deadlines.ts"
import type { Any, Commands } from "./definition.ts"
import { handle, processesOf } from "./reacting.ts"

/**
 * A process as it stands: its state, and the deadlines that are set with their times.
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function* <P extends Any>(
  process: P,
  key: string
): Effect.fn.Return<
  { readonly state: P["initial"]; readonly deadlines: ReadonlyMap<P["deadlines"][number]["type"], DateTime.Utc> },
  Repository.LoadError,
  EventStore
> {
  const { state: entries } = yield* Repository.read(process.journal, key)
  const state = yield* Effect.fromResult(entries.state)
  return { state, deadlines: new Map(Array.from(entries.deadlines, ([type, { due }]) => [type, due])) }
})

/**
 * How a process manager follows the log: see `Subscription.Options`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<P extends Subscription.OnFailure> extends Omit<
  Subscription.Options<P, false>,
  "name" | "transactional" | "partitions" | "concurrency"
> {
  /**
   * How many processes react at once. Each reacts to its events in the order of the log, from whichever stream they are, and what one stream says
   * to several comes in its order as well. Their commits go to the store together. With 1 all events are reacted to in the order of the
   * log. Default: 64.
   */
  readonly concurrency?: number | undefined
}

/**
 * What a process manager needs: the handler of each command that it may send, among others.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements<P extends Any, F extends Subscription.OnFailure> =
  | EventStore
  | Checkpoints
  | MessageBus.MessageBus
  | HandlerOf<Commands<P>>
  | ("park" extends F ? ParkedEvents : never)
  | ("park-stream" extends F ? ParkedEvents : never)

type HandlerOf<Tag extends string> = Tag extends string ? MessageBus.Handler<Tag> : never

/** Keeps what the processes that were used last are folded to, so that a reaction reads what is new in its stream alone. */
const keepsStates = ({ journal }: Any) => {
  const own = Repository.makeStateCache(1000)
  return <A, E, R>(reaction: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Effect.serviceOption(Repository.StateCache), (outer) => {
      // The aggregates of the commands are cached where the program says so.
      const of = (aggregate: object) => (aggregate === journal ? own : Option.getOrUndefined(outer))
      return Effect.provideService(reaction, Repository.StateCache, {
        get: (store, aggregate, stream) => of(aggregate)?.get(store, aggregate, stream),
        set: (store, aggregate, stream, folded) => of(aggregate)?.set(store, aggregate, stream, folded)
      })
    })
}

/**
 * A process manager at work, as long as the Layer is open: a subscription called `process:<name>`, which `Subscription.status`,
 * `pause`, `resume` and `replay` know, and the watch over its deadlines.
 *
 * Of all processes of the machine room that run it, one reacts and one watches; others take over when a lease runs out. No lease is
 * what makes an event take effect once: that is the unit of work, together with the version of the process's stream.
 *
 * A reaction that fails is tried again by `retry`, then `onFailure` decides: by default, it halts there.
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { Checkpoints, Command, Event, EventStore, MessageBus, ProcessManager, UnitOfWork } from "eventfold"
 *
 * const SignedUp = Event.make("SignedUp", { user: Schema.String })
 * const Welcomed = Event.make("Welcomed", { user: Schema.String })
 * const Welcome = Command.make("Welcome", { payload: { user: Schema.String } })
 *
 * const Welcoming = ProcessManager.make("Welcoming", {
 *   events: [SignedUp],
 *   correlate: { SignedUp: ({ user }) => user },
 *   initial: {},
 *   evolve: { SignedUp: (state) => state },
 *   react: { SignedUp: (_, { user }) => [ProcessManager.send(Welcome, { user })] }
 * })
 *
 * const WelcomeLive = MessageBus.handle(Welcome, ({ user }) => MessageBus.publish(Welcomed, Welcomed.make({ user })))
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("User-ada", [{ type: "SignedUp", payload: { user: "ada" } }])
 *   return yield* EventStore.subscribe({ filter: { types: ["Welcomed"] } }).pipe(
 *     Stream.map(({ payload }) => payload),
 *     Stream.take(1),
 *     Stream.runCollect
 *   )
 * })
 *
 * const Live = ProcessManager.layer(Welcoming).pipe(
 *   Layer.provideMerge(WelcomeLive),
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [{ user: "ada" }]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <P extends Any, const F extends Subscription.OnFailure = "halt">(
  process: P,
  options?: Options<F>
): Layer.Layer<never, never, Requirements<P, F>> =>
  // A cache for each time that it is built.
  Layer.suspend(() => {
    const { deadlines, events, name, readers } = process
    const keeping = keepsStates(process)
    const turns = makeTurns()
    const follower = Subscription.layerOf<Effect.Services<ReturnType<typeof handle>>, F, false>(
      { ...options, concurrency: options?.concurrency ?? 64, name: processName(name) },
      {
        runs: "process",
        title: name,
        filter: [
          { types: storedTypes(...events) },
          ...(deadlines.length === 0 ? [] : [{ categories: [name], types: storedTypes(...deadlines) }])
        ],
        prepare: (recorded) =>
          Result.map(readOwn(readers, recorded), (all) => (delivery) => keeping(handle(process, all, delivery.event, turns))),
        lanesOf: (recorded) => processesOf(process, recorded)
      }
    )
    const watch = Layer.effectDiscard(watchDeadlines(process, options?.lease ?? "15 seconds"))
    // The handlers that are looked up by the commands' tags.
    return (deadlines.length === 0 ? follower : Layer.provideMerge(watch, follower)) as Layer.Layer<
      never,
      never,
      Requirements<P, F>
    >
  })
