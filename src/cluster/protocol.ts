/** What callers and owners of an aggregate say to each other. */
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as Entity from "effect/cluster/Entity"
import * as Snowflake from "effect/cluster/Snowflake"
import * as Effect from "effect/Effect"
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { CommitError } from "../deciding/UnitOfWork.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import type { Any } from "../definitions/Command.ts"
import { storedFault } from "../definitions/personal.ts"
import { hasSecret } from "../definitions/secrets.ts"
import { InvalidAppendError } from "../store/EventStore.ts"

/** How a command is delivered. */
export type Delivery = "volatile" | "durable"

const Message = {
  /** The name of the command, and its payload as JSON: so who has another version of it is told what does not fit. */
  command: Schema.String,
  payload: Schema.Json,
  /** The id of the execution, as of `MessageBus.execute`. */
  id: Schema.NullOr(Schema.String),
  correlationId: Schema.NullOr(Schema.String),
  metadata: Schema.Record(Schema.String, Schema.Json),
  /** The shard of the aggregate, as the caller reckons it. */
  shard: Schema.Int,
  /** When it was made, by the clock of its caller. */
  request: Snowflake.SnowflakeFromString,
  /** Names what is asked for, however often it is sent. */
  key: Schema.String
}

/** What became of a command. */
const Reply = Schema.Struct({
  outcome: Schema.Literals(["success", "failure"]),
  value: Schema.Json,
  position: Schema.Int
})

const Volatile = Rpc.make("execute", { payload: Message, success: Reply, error: CommitError })

const Durable = Rpc.make("execute", {
  payload: Message,
  success: Reply,
  error: CommitError,
  primaryKey: ({ command, key }) => `${command}/${key}`
})
  .annotate(ClusterSchema.Persisted, true)
  // Kept until it is answered, also where its caller has gone.
  .annotate(ClusterSchema.Uninterruptible, "client")
  // The reply commits with the events.
  .annotate(ClusterSchema.WithTransaction, true)

export type Message = (typeof Volatile)["payloadSchema"]["Type"]

/** Refuses what must not stand in the tables of the cluster, where it could not be forgotten. */
export const checkKept = (stream: string, field: string, json: Schema.Json): Effect.Effect<void, InvalidAppendError> => {
  const fault = storedFault(json)
  if (fault === undefined) return Effect.void
  const problem = `${fault.path} is personal data, which the tables of the cluster would keep in the clear: let the command be "volatile"`
  return Effect.fail(new InvalidAppendError({ stream, field, problem }))
}

/** A command that would stand in the tables of the cluster with its secrets is a mistake of the program. */
export const checkSecrets = (command: Any, delivery: Delivery): void => {
  const { errorSchema, payloadSchema, successSchema } = command
  if (delivery === "volatile" || ![payloadSchema, successSchema, errorSchema].some(hasSecret)) return
  throw new RangeError(
    `ClusterBus: "${command._tag}" has a Schema.Redacted, which the tables of the cluster would keep in the clear: let it be "volatile"`
  )
}

/** What the aggregates are called in the cluster: those whose messages are kept are others than those whose are not. */
export const typeOf = (aggregate: Aggregate.Any, delivery: Delivery): string =>
  `eventfold/${delivery === "durable" ? "durable/" : ""}${aggregate.name}`

/** The aggregates as entities of the cluster. */
export const entityOf = (aggregate: Aggregate.Any, delivery: Delivery, shardGroup: ((id: string) => string) | undefined) => {
  const entity = Entity.make(typeOf(aggregate, delivery), [delivery === "durable" ? Durable : Volatile])
  return shardGroup === undefined ? entity : entity.annotate(ClusterSchema.ShardGroup, shardGroup)
}
