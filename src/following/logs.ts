import * as Layer from "effect/Layer"
import type * as Effect from "effect/Effect"
import type * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { EventStore } from "../store/EventStore.ts"
import type { Delivery, OnFailure, RawOptions, Requirements, TypedOptions } from "./model.ts"

/**
 * What a handler is told beside an event of one of several logs.
 *
 * @category models
 * @since 0.2.0
 */
export interface LogDelivery extends Delivery {
  /** Which of the logs the event stands in. */
  readonly log: string
}

/**
 * Logs by their names. The names are part of those of the checkpoints, and so do not change.
 *
 * @category models
 * @since 0.2.0
 */
export type Logs<E, R> = { readonly [log: string]: Layer.Layer<EventStore, E, R> }

/**
 * A subscription to several logs, to events as they stand in the stores.
 *
 * @category models
 * @since 0.2.0
 */
export interface RawLogsOptions<E, R, P extends OnFailure, T extends boolean> extends Omit<RawOptions<E, R, P, T>, "handler"> {
  /** What is done with an event of any of the logs. */
  readonly handler: (event: RecordedEvent, delivery: LogDelivery) => Effect.Effect<unknown, E, R>
}

/**
 * One handler per event type, of whichever log.
 *
 * @category models
 * @since 0.2.0
 */
export type LogHandlers<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"],
    delivery: LogDelivery
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * A subscription to several logs, to events by their definitions.
 *
 * @category models
 * @since 0.2.0
 */
export interface TypedLogsOptions<
  Events extends ReadonlyArray<Event.Any>,
  H extends LogHandlers<Events>,
  P extends OnFailure,
  T extends boolean
> extends Omit<TypedOptions<Events, never, P, T>, "handlers"> {
  /** One for each of `events`. */
  readonly handlers: H
}

/** What a subscription to several logs needs: the stores are those of the logs. */
export type LogsRequirements<R, P extends OnFailure, T extends boolean, RL> =
  | Exclude<Requirements<Exclude<R, EventStore>, P, T>, EventStore>
  | RL

type Handle = (event: never, delivery: Delivery) => unknown

const telling =
  (log: string, handle: Handle): Handle =>
  (event, delivery) =>
    handle(event, { ...delivery, log } as LogDelivery)

/** The options of the subscription to one of the logs. */
const optionsOf = (log: string, options: { readonly name: string }) => {
  const { handler, handlers = {} } = options as {
    readonly handler?: Handle
    readonly handlers?: Readonly<Record<string, Handle>>
  }
  const name = `${options.name}@${log}`
  if (handler !== undefined) return { ...options, name, handler: telling(log, handler) }
  const told = Object.entries(handlers).map(([type, handle]) => [type, telling(log, handle)] as const)
  return { ...options, name, handlers: Object.fromEntries(told) }
}

/** The subscriptions to all of the logs, together. */
export const overLogs = (
  logs: Logs<unknown, unknown>,
  options: { readonly name: string },
  layer: (options: never) => Layer.Layer<never, never, unknown>
): Layer.Layer<never, unknown, unknown> => {
  const refuse = (problem: string) => new RangeError(`Subscription "${options.name}" to several logs: ${problem}`)
  const all = Object.entries(logs).map(([log, store]) => {
    if (!/^[^@:/]+$/.test(log))
      throw refuse(`${JSON.stringify(log)} cannot be the name of one: no "@", ":" or "/", and not empty`)
    // Whoever calls has the layer and the options of one kind.
    return Layer.provide(layer(optionsOf(log, options) as never), Layer.fresh(store))
  })
  const [first, ...rest] = all
  if (first === undefined) throw refuse("there is none")
  return Layer.mergeAll(first, ...rest)
}
