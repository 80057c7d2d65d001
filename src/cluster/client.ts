import * as EntityId from "effect/cluster/EntityId"
import { Sharding } from "effect/cluster/Sharding"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as MessageBus from "../deciding/MessageBus.ts"
import type { CommitError } from "../deciding/UnitOfWork.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { placeOf } from "../definitions/aggregateId.ts"
import { type Any, CommandElsewhereError } from "../definitions/Command.ts"
import { makeId } from "../internal/ids.ts"
import { canonicalJson, jsonFault } from "../internal/json.ts"
import { pausing } from "../internal/lasting.ts"
import { InvalidAppendError } from "../store/EventStore.ts"
import { type HandlersOf, idOf, type Options } from "./options.ts"
import { checkKept, checkSecrets, entityOf, type Message, typeOf } from "./protocol.ts"

/**
 * How commands are sent to the owners of aggregates.
 *
 * @category models
 * @since 0.2.0
 */
export interface ClientOptions<A extends Aggregate.Any, Commands extends ReadonlyArray<Any>> extends Options<A, Commands> {
  /** How long a caller waits for an answer. The time in which a runner that died is missed should fit in. Default: 1 minute. */
  readonly patience?: Duration.Input | undefined
}

/** Whoever decides was interrupted, as where a shard is taken from a process that was frozen; or this process stops to wait for it. */
class OwnerInterrupted extends Data.TaggedError("OwnerInterrupted")<{ readonly isLeaving: boolean }> {}

/** What has become of the request is still to be found out: its owner was interrupted, or has it in hand under the same number of the cluster. */
const isOfTheWay = (error: { readonly _tag: string }): boolean =>
  error instanceof OwnerInterrupted ? !error.isLeaving : error._tag === "AlreadyProcessingMessage"

/** What is sent again is the same request, so it takes effect once: some ten seconds, all in all. */
const again = Schedule.max([Schedule.exponential("50 millis"), Schedule.recurs(7)])

/**
 * Sends commands to the runners that own their aggregates: the handlers of a program that executes them there. It takes the place of the Layers of
 * `MessageBus.handle`, and nothing above it changes.
 *
 * What does not come to an answer of the command's own is an error of the unit of work, as it would be here. A `CommandElsewhereError` says what the network
 * or the cluster adds; nothing waits longer than `patience`. Inside of a unit of work it is refused (`inside`), for the one could not be undone with the other.
 *
 * A runner that dies, is cut off or loses its shards is replaced, and what it was sent is sent to the next one. It takes effect once, and the caller gets what it first came
 * to: see {@link layerRunner}.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { TestRunner } from "effect/cluster"
 * import { Aggregate, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
 * import { ClusterBus } from "eventfold/cluster"
 *
 * const Counted = Event.make("Counted", { by: Schema.Int })
 * const Counter = Aggregate.make("Counter", {
 *   events: [Counted],
 *   initial: 0,
 *   evolve: { Counted: (total, { by }) => total + by }
 * })
 * const Add = Command.make("Add", { payload: { counter: Schema.String, by: Schema.Int }, success: Schema.Int })
 * const AddLive = MessageBus.handle(Add, ({ by, counter }) =>
 *   Effect.map(Repository.execute(Counter, counter, () => Counted.make({ by })), ({ state }) => state)
 * )
 *
 * const options = { id: { Add: ({ counter }: { readonly counter: string }) => counter } }
 * const Store = Layer.provideMerge(UnitOfWork.layer, EventStore.layerMemory)
 * const Bus = Layer.provideMerge(MessageBus.layer, Store)
 *
 * // What runs on the runners, and what calls them: here in one process.
 * const Runner = ClusterBus.layerRunner(Counter, [Add], options).pipe(Layer.provide(AddLive))
 * const Client = ClusterBus.layerClient(Counter, [Add], options)
 * const Live = Layer.merge(Runner, Client).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))
 *
 * const add = MessageBus.execute(Add, { counter: "clicks", by: 2 })
 * await Effect.runPromise(Effect.provide(Effect.all([add, add]), Live)) // => [2, 4]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerClient = <A extends Aggregate.Any, const Commands extends ReadonlyArray<Any>>(
  aggregate: A,
  commands: Commands,
  options: ClientOptions<A, Commands>
): Layer.Layer<HandlersOf<Commands[number]>, never, Sharding> => {
  const delivery = options.delivery ?? "volatile"
  const patience = pausing("ClusterBus: patience", options.patience ?? "1 minute")
  const entity = entityOf(aggregate, delivery, options.shardGroup)
  const layerOf = (command: Any) => {
    checkSecrets(command, delivery)
    const refuse = (reason: CommandElsewhereError["reason"], detail: string) =>
      new CommandElsewhereError({ command: command._tag, reason, detail })
    const idOfPayload = idOf(options, command._tag)
    return MessageBus.handleElsewhere(
      command,
      Effect.fnUntraced(function* ({
        correlationId,
        encoded,
        id,
        metadata,
        payload
      }): Effect.fn.Return<MessageBus.Reply, CommitError, Sharding> {
        const { id: named, stream } = yield* Effect.fromResult(placeOf(aggregate, idOfPayload(payload)))
        if (delivery === "durable") yield* checkKept(stream, `${command._tag}.payload`, encoded)
        const sharding = yield* Sharding
        const request = yield* sharding.getSnowflake
        const entityId = EntityId.make(named)
        const { id: shard } = sharding.getShardId(entityId, entity.getShardGroup(entityId))
        const given = Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined))
        const fault = jsonFault(given)
        if (fault !== undefined) {
          return yield* new InvalidAppendError({ stream, field: `metadata${fault.path}`, problem: fault.problem })
        }
        const message: Message = {
          command: command._tag,
          payload: encoded,
          id: id ?? null,
          correlationId: correlationId ?? null,
          // It is JSON, as was just seen.
          metadata: given as Message["metadata"],
          shard,
          request,
          // An id goes with one payload: with another, the runner says so.
          // Callers that own no shards draw their numbers as machines by lot, so two may have one snowflake.
          key: id === undefined ? `${request}-${(yield* makeId).slice(-12)}` : `${id}/${canonicalJson(encoded)}`
        }
        const whose = `${typeOf(aggregate, delivery)} "${named}"`
        const unanswered = `nobody who owns ${whose} (shard ${shard}) has answered in ${Duration.format(patience)}. It may have taken effect. Is a program with ClusterBus.layerRunner of "${aggregate.name}" up, with the delivery "${delivery}" and as many shards?`
        const leaving = `this process left the cluster before ${whose} had answered. It may have taken effect`
        // A caller that is interrupted itself comes no further than to this.
        const sent = Effect.catchCauseIf(
          Effect.flatMap(entity.client, (make) => make(named).execute(message)),
          Cause.hasInterruptsOnly,
          () => Effect.flatMap(sharding.isShutdown, (isLeaving) => Effect.fail(new OwnerInterrupted({ isLeaving })))
        )
        return yield* sent.pipe(
          Effect.retry({
            schedule: again,
            while: (error) => delivery === "volatile" && isOfTheWay(error)
          }),
          Effect.catchTags({
            MailboxFull: () =>
              refuse("full", `who owns ${whose} has too much in hand, or too many aggregates. Nothing was done: repeat it later`),
            AlreadyProcessingMessage: (error) => refuse("unanswered", `${whose}: ${error.message}`),
            PersistenceError: (error) => refuse("unanswered", `the storage of the cluster failed: ${error.message}`),
            EntityNotAssignedToRunner: () => refuse("unanswered", leaving),
            OwnerInterrupted: ({ isLeaving }) =>
              refuse("unanswered", isLeaving ? leaving : `who owns ${whose} was interrupted. It may have taken effect`)
          }),
          Effect.timeoutOrElse({ duration: patience, orElse: () => refuse("unanswered", unanswered) })
        )
      })
    )
  }
  const [first, ...rest] = commands.map(layerOf)
  if (first === undefined) throw new RangeError(`ClusterBus.layerClient of "${aggregate.name}": there is no command`)
  // A handler for each of the commands.
  return Layer.mergeAll(first, ...rest) as Layer.Layer<HandlersOf<Commands[number]>, never, Sharding>
}
