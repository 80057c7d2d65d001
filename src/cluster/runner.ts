import { CurrentAddress } from "effect/cluster/Entity"
import * as Sharding from "effect/cluster/Sharding"
import * as Snowflake from "effect/cluster/Snowflake"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as MessageBus from "../deciding/MessageBus.ts"
import { type CommitError, committed, retryConflicts, transact, type UnitOfWork } from "../deciding/UnitOfWork.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { placeOf } from "../definitions/aggregateId.ts"
import { type Any, CommandDecodeError, CommandElsewhereError } from "../definitions/Command.ts"
import { wholeOrEndless } from "../internal/counting.ts"
import { lasting } from "../internal/lasting.ts"
import { type EventStore, streamName } from "../store/EventStore.ts"
import { isInTransaction } from "../store/inTransaction.ts"
import { jsonOf, makeActivation, type Request, run } from "./activation.ts"
import { idOfRequest } from "./answers.ts"
import { type HandlersOf, idOf, type Options } from "./options.ts"
import { checkKept, checkSecrets, type Delivery, entityOf, type Message, typeOf } from "./protocol.ts"

/**
 * How a runner owns aggregates.
 *
 * @category models
 * @since 0.2.0
 */
export interface RunnerOptions<A extends Aggregate.Any, Commands extends ReadonlyArray<Any>> extends Options<A, Commands> {
  /** How long an aggregate stays in memory that nobody uses. Default: that of the cluster (`entityMaxIdleTime`, 1 minute). */
  readonly maxIdleTime?: Duration.Input | undefined
  /** The most commands of one append. Default: 64. */
  readonly maxBatch?: number | undefined
}

type Services<Commands extends ReadonlyArray<Any>> =
  | MessageBus.MessageBus
  | HandlersOf<Commands[number]>
  | EventStore
  | UnitOfWork

/** In the transaction of its message: what it came to commits with the events. Where those go elsewhere, it stands there, under the id of the request. */
const alone = (request: Request, stream: string) =>
  Effect.gen(function* () {
    const { unitOfWork } = yield* MessageBus.MessageBus
    const isPart = isInTransaction(unitOfWork.store, yield* Effect.context<never>())
    const kept = Effect.tap(run(request, isPart ? null : idOfRequest(request.requestId)), ({ outcome, value }) =>
      checkKept(stream, `${request.command._tag}.${outcome}`, value)
    )
    const { position, value } = yield* committed(retryConflicts(transact(kept), { times: 10 }))
    return { ...value, position }
  })

/**
 * Owns the aggregates that the cluster assigns to this runner, and handles their commands by the handlers that it is provided with.
 *
 * - **One owner** of an aggregate at a time decides, on the state that it keeps; what waits for it is decided in one unit of work and written by one append, up to
 *   `maxBatch`. A command that fails drops what it has staged itself, and nothing of others. Where an append of several is refused, each is written by itself.
 * - **The version that is expected decides**, not the cluster: after a freeze two owners may live at once, and one of them decides again.
 * - **A request takes effect once**, however often the cluster sends it: its events tell which request they were written for, and its repetition is answered with what
 *   it first came to. For that a command has to write to the stream of its aggregate, or be executed with an id, and the clocks of callers and runners may be
 *   five seconds apart. One that was refused without an id has written nothing, and is decided anew.
 * - **Snapshots** are saved as the aggregate says, while it is owned and when it is let go.
 *
 * An aggregate has one `layerRunner` in a program, with all of its commands: a second one is a defect.
 *
 * A command of another version than this runner knows is a `CommandDecodeError` at its caller, one without a handler here a `CommandElsewhereError`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerRunner = <A extends Aggregate.Any, const Commands extends ReadonlyArray<Any>>(
  aggregate: A,
  commands: Commands,
  options: RunnerOptions<A, Commands>
): Layer.Layer<never, never, Services<Commands> | Sharding.Sharding> => {
  const delivery = options.delivery ?? "volatile"
  const maxBatch = wholeOrEndless(1, "ClusterBus: maxBatch", options.maxBatch ?? 64)
  const maxIdleTime = options.maxIdleTime === undefined ? undefined : lasting("ClusterBus: maxIdleTime", options.maxIdleTime)
  for (const command of commands) checkSecrets(command, delivery)
  const entity = entityOf(aggregate, delivery, options.shardGroup)
  const byTag = new Map<string, Any>(commands.map((command) => [command._tag, command]))

  /** What has arrived, if it is for whom it was sent to. */
  const accept = Effect.fnUntraced(function* (
    message: Message
  ): Effect.fn.Return<Request & { readonly id: unknown }, CommitError, Sharding.Sharding | CurrentAddress> {
    const { entityId, shardId } = yield* CurrentAddress
    const refuse = (reason: CommandElsewhereError["reason"], detail: string) =>
      new CommandElsewhereError({ command: message.command, reason, detail })
    const sharding = yield* Sharding.Sharding
    const own = sharding.getShardId(entityId, entity.getShardGroup(entityId))
    const whose = `${typeOf(aggregate, delivery)} "${entityId}"`
    if (message.shard !== own.id || shardId.id !== own.id) {
      return yield* refuse(
        "settings",
        `${whose} belongs to shard ${message.shard} by the settings of its caller, and to shard ${own.id} by those of its runner. Nothing was done: give all programs the same shardsPerGroup and shard groups`
      )
    }
    const command = byTag.get(message.command)
    if (command === undefined) {
      const known = Array.from(byTag.keys(), (tag) => `"${tag}"`).join(", ")
      return yield* refuse(
        "unhandled",
        `the runner of ${whose} handles ${known} alone. Nothing was done: run the same commands everywhere`
      )
    }
    const payload = yield* Schema.decodeUnknownEffect(jsonOf(command.payloadSchema))(message.payload).pipe(
      Effect.mapError(
        ({ message }) =>
          new CommandDecodeError({ command: command._tag, path: "", problem: `(at the runner of ${whose}) ${message}` })
      )
    )
    const id = idOf(options, command._tag)(payload)
    const { id: named } = yield* Effect.fromResult(placeOf(aggregate, id))
    if (named !== String(entityId)) {
      return yield* refuse(
        "settings",
        `it was sent to ${whose}, and is for "${named}" by the "id" of the runner. Nothing was done`
      )
    }
    const madeAt = Snowflake.timestamp(message.request)
    return { requestId: message.key, madeAt, message, command, payload, id }
  })

  const owning = Effect.gen(function* () {
    const { entityId } = yield* CurrentAddress
    const stream = streamName(aggregate.name, entityId)
    let id: unknown
    const decide =
      delivery === "durable"
        ? (request: Request) => alone(request, stream)
        : yield* makeActivation({ aggregate, id: () => id, stream }, maxBatch)
    return {
      execute: Effect.fnUntraced(function* ({ payload }: { readonly payload: Message }) {
        const accepted = yield* accept(payload)
        id = accepted.id
        return yield* decide(accepted)
      })
    }
  })
  // The messages of the entity are decoded by its own protocol, of which the types know nothing here.
  const owners = entity.toLayer(owning as never, {
    concurrency: delivery === "durable" ? 1 : "unbounded",
    disableFatalDefects: true,
    ...(maxIdleTime !== undefined && { maxIdleTime })
  }) as unknown as Layer.Layer<never, never, Services<Commands> | Sharding.Sharding>
  return Layer.provideMerge(owners, onlyOne(aggregate, delivery))
}

/** The kinds of aggregates that each runner owns. */
const owned = new WeakMap<Sharding.Sharding["Service"], Set<string>>()

/** The cluster passes over a second registration in silence. */
const onlyOne = (aggregate: Aggregate.Any, delivery: Delivery): Layer.Layer<never, never, Sharding.Sharding> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sharding = yield* Sharding.Sharding
      const types = owned.get(sharding) ?? new Set()
      owned.set(sharding, types)
      const type = typeOf(aggregate, delivery)
      if (types.has(type)) {
        const what = `ClusterBus.layerRunner: the aggregate "${aggregate.name}" has an owner here already (delivery "${delivery}")`
        return yield* Effect.die(new Error(`${what}. Name all of its commands in one layerRunner`))
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => types.add(type)),
        () => Effect.sync(() => types.delete(type))
      )
    })
  )
