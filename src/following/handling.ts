import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Event from "../definitions/Event.ts"
import { readersOf, readOwn, widened } from "../definitions/listing.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { CheckpointError } from "../store/Checkpoints.ts"
import type { Filter, Query } from "../store/EventStore.ts"
import type { Delivery, OnFailure, Options, RawOptions } from "./model.ts"

/**
 * Whether the lease under which an event is being handled is still good. Where it is not, what is done can neither commit nor move
 * the checkpoint, and all is done again.
 */
export const StillHeld = Context.Reference<Effect.Effect<boolean, CheckpointError>>("eventfold/following/StillHeld", {
  defaultValue: () => Effect.succeed(true)
})

/** The names of the subscriptions in whose handlers this runs. */
export const Inside = Context.Reference<ReadonlySet<string>>("eventfold/following/Inside", { defaultValue: () => new Set() })

/** Both kinds of options of a subscription, as the implementation sees them. */
export type AnyOptions<R, P extends OnFailure, T extends boolean> =
  | RawOptions<unknown, R, P, T>
  | (Options<P, T> & {
      readonly events: ReadonlyArray<Event.Any>
      readonly handlers: { readonly [type: string]: (event: never, delivery: Delivery) => Effect.Effect<unknown, unknown, R> }
      readonly filter?: Filter | undefined
    })

/**
 * Which events, and what is done with one: what cannot be decoded is found before anything is done.
 *
 * @internal
 */
export interface Handling<R> {
  /** What it is run for. Default: for itself. */
  readonly runs?: "projection" | "process" | undefined
  /** What that is called. Default: as the subscription. */
  readonly title?: string | undefined
  readonly filter: Filter | undefined
  readonly prepare: (
    event: RecordedEvent
  ) => Result.Result<
    (delivery: Delivery) => Effect.Effect<unknown, unknown, R>,
    Event.EventDecodeError | Event.UnknownEventTypeError
  >
  /** In whose order, beside that of its stream, an event is handled. Default: in no other. */
  readonly lanesOf?: ((event: RecordedEvent) => ReadonlyArray<string>) | undefined
  /**
   * Surrounds what is done with several events one after the other in one transaction; `current` is the one in hand. When it fails they are
   * prepared one by one, each in a transaction of its own.
   */
  readonly together?:
    | (<A>(
        events: ReadonlyArray<RecordedEvent>,
        current: () => RecordedEvent | undefined,
        work: Effect.Effect<A, unknown, R>
      ) => Effect.Effect<A, unknown, R>)
    | undefined
  /** What is done, in one transaction, with several events at once. When it fails they are prepared one by one. */
  readonly handleBatch?: ((events: ReadonlyArray<RecordedEvent>) => Effect.Effect<unknown, unknown, R>) | undefined
}

export const handlingOf = <R>(options: AnyOptions<R, OnFailure, boolean>): Handling<R> =>
  "events" in options ? typed(options) : raw(options)

const raw = <R>({ filter, handler }: RawOptions<unknown, R, OnFailure, boolean>): Handling<R> => ({
  filter,
  prepare: (event) => Result.succeed((delivery) => handler(event, delivery))
})

const typed = <R>(options: Extract<AnyOptions<R, OnFailure, boolean>, { readonly events: unknown }>): Handling<R> => {
  const readers = readersOf(`Subscription "${options.name}"`, options.events)
  return {
    filter: options.filter === undefined ? widened({}, readers) : widenedFilter(options.filter, readers),
    prepare: (event) =>
      Result.map(
        readOwn(readers, event),
        (all) => (delivery) =>
          Effect.forEach(
            all,
            ({ definition, event }) => {
              // The handler of this type: it takes what this definition decodes to.
              const handler = options.handlers[definition.type] as (
                event: unknown,
                delivery: Delivery
              ) => Effect.Effect<unknown, unknown, R>
              return handler(event, delivery)
            },
            { discard: true }
          )
      )
  }
}

/** The types of a filter, also as those that their events were stored under before; a query without types stays one. */
const widenedFilter = (filter: Filter, readers: Event.Readers): Filter => {
  const wide = (query: Query): Query => (query.types === undefined ? query : widened(query, readers))
  return isMany(filter) ? filter.map(wide) : wide(filter)
}

const isMany = (filter: Filter): filter is ReadonlyArray<Query> => Array.isArray(filter)
