/**
 * The server, as the rooms of the transport see it: scripts with typed arguments, each in time.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import { failAs, inTime } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"

export interface Server {
  readonly redis: Redis.Redis["Service"]
  readonly timeout: Duration.Duration
  readonly keys: Keys
  /** Does something on the server, or fails in time. */
  readonly call: <A, R>(operation: string, effect: Effect.Effect<A, Redis.RedisError, R>) => Effect.Effect<A, TransportError, R>
}

/** The keys and the channel, which all bear the name of the stream. */
export interface Keys {
  readonly stream: string
  readonly ids: string
  readonly members: (group: string) => string
  readonly delayed: (group: string) => string
  readonly channel: string
}

const makeKeys = (name: string): Keys => ({
  stream: name,
  ids: `{${name}}:ids`,
  members: (group) => `{${name}}:members:${group}`,
  delayed: (group) => `{${name}}:delayed:${group}`,
  channel: `{${name}}:wake`
})

export const makeServer = (redis: Redis.Redis["Service"], name: string, timeout: Duration.Duration): Server => ({
  redis,
  timeout,
  keys: makeKeys(name),
  call: (operation, effect) => inTime(operation, timeout)(Effect.mapError(effect, ({ cause }) => failAs(operation)(cause)))
})

/** Errors of the server that waiting does not mend. */
const lasting = /^(ERR|WRONGTYPE|NOPERM|NOAUTH|WRONGPASS|NOGROUP)\b/

export const isPassing = ({ reason }: TransportError): boolean => !lasting.test(reason.detail)

export const milliseconds = (input: Duration.Input): number => Math.ceil(Duration.toMillis(input))
