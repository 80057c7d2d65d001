/** What operations work on: the services of the program, and the definitions that it has told of. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { DeadLetters } from "../consuming/DeadLetters.ts"
import { allGroups, type Group } from "../consuming/members.ts"
import * as MessageBus from "../deciding/MessageBus.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { allFollowers, type LogFollower } from "../following/engine.ts"
import type * as ProcessManager from "../processManager/ProcessManager.ts"
import type * as Projection from "../projection/Projection.ts"
import { describe } from "../sql/errors.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, EventStoreError } from "../store/EventStore.ts"
import { ParkedEvents } from "../store/ParkedEvents.ts"
import { Snapshots } from "../store/Snapshots.ts"
import { Transport } from "../transport/Transport.ts"
import { InvalidRequestError, UnavailableError } from "./contract/errors.ts"

/** A projection of any kind. */
export type AnyProjection = Projection.Projection<unknown, unknown>

/**
 * What a program tells of itself: without it, events, followers and what is parked can be seen, and states, tables and the map cannot.
 *
 * @category models
 * @since 0.2.0
 */
export interface Registered<Projections extends ReadonlyArray<AnyProjection> = ReadonlyArray<AnyProjection>> {
  /** Aggregates, whose states can be seen and whose payloads can be masked. Default: none. */
  readonly aggregates?: ReadonlyArray<Aggregate.Any> | undefined
  /** Process managers, likewise. Default: none. */
  readonly processes?: ReadonlyArray<ProcessManager.Any> | undefined
  /** Projections, in each version that there is: what can be rebuilt, switched to and dropped from here. Default: none. */
  readonly projections?: Projections | undefined
}

/** The services that operations find. */
export interface Parts {
  readonly store: EventStore["Service"]
  readonly checkpoints: Checkpoints["Service"]
  readonly parking: ParkedEvents["Service"] | undefined
  readonly letters: DeadLetters["Service"] | undefined
  readonly snapshots: Snapshots["Service"] | undefined
  readonly bus: MessageBus.MessageBus["Service"] | undefined
  readonly transport: Transport["Service"] | undefined
  /** The database, where the store lives in one. */
  readonly sql: SqlClient.SqlClient | undefined
  /** The commands that have a handler. */
  readonly commands: ReadonlyArray<string>
  readonly aggregates: ReadonlyMap<string, Aggregate.Any>
  readonly processes: ReadonlyMap<string, ProcessManager.Any>
  readonly projections: ReadonlyArray<AnyProjection>
  /** What follows the log in this process, by checkpoint. */
  readonly followers: Effect.Effect<ReadonlyMap<string, LogFollower>>
  /** What consumes in this process, by group. */
  readonly groups: Effect.Effect<ReadonlyMap<string, Group>>
  /** All services, for whatever a projection's handlers want. */
  readonly services: Context.Context<never>
}

const handlerPrefix = "eventfold/MessageBus/Handler/"

/** Finds them where operations are provided. */
export const makeParts = Effect.fnUntraced(function* (
  registered: Registered
): Effect.fn.Return<Parts, never, EventStore | Checkpoints> {
  const services = yield* Effect.context<never>()
  const store = yield* EventStore
  const optional = <I, S>(key: Context.Key<I, S>) => Option.getOrUndefined(Context.getOption(services, key))
  const sql = optional(SqlClient.SqlClient)
  const provided = <A>(effect: Effect.Effect<A>) => Effect.provideContext(effect, services)
  return {
    store,
    checkpoints: yield* Checkpoints,
    parking: optional(ParkedEvents),
    letters: optional(DeadLetters),
    snapshots: optional(Snapshots),
    bus: optional(MessageBus.MessageBus),
    transport: optional(Transport),
    sql: sql !== undefined && store.transactionService?.key === sql.transactionService.key ? sql : undefined,
    commands: Array.from(services.mapUnsafe.keys()).flatMap((key) =>
      key.startsWith(handlerPrefix) ? [key.slice(handlerPrefix.length)] : []
    ),
    aggregates: new Map((registered.aggregates ?? []).map((aggregate) => [aggregate.name, aggregate])),
    processes: new Map((registered.processes ?? []).map((process) => [process.name, process])),
    projections: registered.projections ?? [],
    followers: provided(allFollowers),
    groups: provided(allGroups(optional(Transport))),
    services
  }
})

/** What fails underneath, in its own words. */
export const unavailable = (error: unknown): UnavailableError => new UnavailableError({ detail: describe(error) })

export const orUnavailable = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, UnavailableError, R> =>
  Effect.mapError(effect, unavailable)

/** Likewise, where a store is asked for what an operator has given: one that says that it makes no sense is there. */
export const unreadable = (error: unknown): UnavailableError | InvalidRequestError =>
  error instanceof EventStoreError && error.reason._tag === "InvalidRead"
    ? new InvalidRequestError({ detail: error.reason.detail })
    : unavailable(error)

export const orUnreadable = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, UnavailableError | InvalidRequestError, R> => Effect.mapError(effect, unreadable)
