/** Requests as an owner of an aggregate gets them. */
import { Snowflake } from "effect/cluster"
import type { Command } from "eventfold"
import type { Request } from "../../src/cluster/activation.ts"

export const requestOf = <C extends Command.Any>(
  command: C,
  requestId: string,
  payload: Command.Payload<C>,
  madeAt: number = Date.now()
): Request => ({
  requestId,
  madeAt,
  command,
  payload,
  message: {
    command: command._tag,
    payload: null,
    id: null,
    correlationId: null,
    metadata: {},
    shard: 1,
    request: Snowflake.Snowflake(1),
    key: requestId
  }
})
