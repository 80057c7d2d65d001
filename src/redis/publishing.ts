/**
 * Publishing: documents go to the server in batches, and what is old is removed now and then.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { batchesOf, encodeText, keyOf, refused, unavailable } from "../transport/kit.ts"
import type { Message, Transport, TransportError } from "../transport/Transport.ts"
import * as scripts from "./scripts/index.ts"
import { isPassing, type Server } from "./server.ts"

export interface Settings {
  readonly replicas: number
  /** For how long ids are known, in milliseconds. */
  readonly deduplication: number
  readonly maxMessageBytes: number
  /** How old messages become at least, in milliseconds. */
  readonly retention: number
  /** How old they become at most, in milliseconds; -1 for no limit. */
  readonly greatestAge: number
}

/** Of one call of the script, so that nobody else waits for long. */
const batch = { maxItems: 500, maxBytes: 4 * 1024 * 1024 }

/** How often old messages are removed at most, in milliseconds. */
const trimInterval = 10_000

/** No server can be told to take less than this at once, in bytes. */
const alwaysTaken = 1024 * 1024

interface Entry {
  readonly id: string
  readonly size: number
  /** What the message is known by, its type, its document. */
  readonly fields: readonly [string, string, string]
}

const tooLarge = (id: string, size: number, limit: number): TransportError =>
  refused(id, `it has ${size} bytes, and ${limit} are allowed`)

const toEntry = (message: Message, maxMessageBytes: number): Result.Result<Entry, TransportError> => {
  const document = encodeText(message)
  if (Result.isFailure(document)) return Result.fail(refused(message.id, document.failure))
  const size = Buffer.byteLength(document.success)
  return size > maxMessageBytes
    ? Result.fail(tooLarge(message.id, size, maxMessageBytes))
    : Result.succeed({ id: message.id, size, fields: [keyOf(message), message.type, document.success] })
}

export const makePublish = (
  { call, keys: { channel, ids, stream }, redis, timeout }: Server,
  { deduplication, greatestAge, maxMessageBytes, replicas, retention }: Settings
): Transport["Service"]["publish"] => {
  let trimmedAt = -Infinity

  const trim = Effect.suspend(() => {
    if (performance.now() - trimmedAt < trimInterval) return Effect.void
    trimmedAt = performance.now()
    return call("publish", redis.eval(scripts.trim)({ stream, retention, greatestAge }))
  })

  const add = (entries: ReadonlyArray<Entry>): Effect.Effect<void, TransportError> => {
    const input = { stream, ids, channel, window: deduplication }
    const list = entries.flatMap(({ fields }) => fields)
    if (replicas === 0) return call("publish", redis.eval(scripts.publish)(input, list))
    const replicated = Effect.scoped(
      Effect.flatMap(redis.reserve, (connection) =>
        Effect.andThen(
          connection.eval(scripts.publish)(input, list),
          connection.send<number>("WAIT", `${replicas}`, `${Duration.toMillis(timeout)}`)
        )
      )
    )
    return Effect.flatMap(call("publish", replicated), (count) =>
      count >= replicas ? Effect.void : Effect.fail(unavailable("publish", `${count} of ${replicas} replicas answered`))
    )
  }

  let serverLimit: number | undefined
  /** What the server takes at once, in bytes: a larger text makes it cut the connection. One that does not say it is at its default. */
  const askLimit: Effect.Effect<number, TransportError> = Effect.suspend(() => {
    if (serverLimit !== undefined) return Effect.succeed(serverLimit)
    return call("publish", redis.send<unknown>("CONFIG", "GET", "proto-max-bulk-len")).pipe(
      Effect.map((answer) => Number(/\d+/.exec(JSON.stringify(answer))?.[0] ?? Infinity)),
      Effect.catch((error) => (isPassing(error) ? Effect.fail(error) : Effect.succeed(Infinity))),
      Effect.tap((limit) => Effect.sync(() => (serverLimit = limit)))
    )
  })

  /** Nothing of a batch is published if the server would not take one of its messages. */
  const check = (entries: ReadonlyArray<Entry>): Effect.Effect<void, TransportError> =>
    entries.every(({ size }) => size <= alwaysTaken)
      ? Effect.void
      : Effect.flatMap(askLimit, (limit) => {
          const entry = entries.find(({ size }) => size > limit)
          return entry === undefined ? Effect.void : Effect.fail(tooLarge(entry.id, entry.size, limit))
        })

  return (messages) =>
    Effect.suspend(() => {
      const entries: Array<Entry> = []
      for (const message of messages) {
        const entry = toEntry(message, maxMessageBytes)
        if (Result.isFailure(entry)) return Effect.fail(entry.failure)
        entries.push(entry.success)
      }
      const batches = batchesOf(entries, { ...batch, sizeOf: ({ size }) => size })
      return check(entries).pipe(Effect.andThen(trim), Effect.andThen(Effect.forEach(batches, add, { discard: true })))
    })
}
