/** How what is done with is told to the broker. */
import type { Channel, ConsumeMessage } from "amqplib"
import * as Effect from "effect/Effect"
import { failAs } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"

/**
 * Acknowledges the messages of a channel. What is acknowledged in one turn of the process goes out together: as one frame for all up to the
 * first message that is not done with, and one for each behind that.
 */
export interface Acknowledging {
  /** A message of the channel, in the order of the channel. */
  readonly add: (message: ConsumeMessage) => void
  /** It has been settled in another way. */
  readonly drop: (message: ConsumeMessage) => void
  readonly ack: (message: ConsumeMessage) => Effect.Effect<void, TransportError>
  /** Sends what waits for the end of the turn. */
  readonly flush: () => void
}

export const makeAcknowledging = (channel: Channel): Acknowledging => {
  /** What is not settled, in order, and whether it is acknowledged. */
  const open = new Map<ConsumeMessage, boolean>()
  let waiting: Array<(answer: Effect.Effect<void, TransportError>) => void> = []

  const send = () => {
    const first: Array<ConsumeMessage> = []
    for (const [message, isDone] of open) {
      if (!isDone) break
      first.push(message)
    }
    const last = first.at(-1)
    if (last !== undefined) channel.ack(last, true)
    for (const message of first) open.delete(message)
    for (const [message, isDone] of open) {
      if (!isDone) continue
      channel.ack(message)
      open.delete(message)
    }
  }
  const flush = () => {
    const answers = waiting
    if (answers.length === 0) return
    waiting = []
    let answer: Effect.Effect<void, TransportError> = Effect.void
    try {
      send()
    } catch (cause) {
      answer = Effect.fail(failAs("ack")(cause))
    }
    for (const resume of answers) resume(answer)
  }
  return {
    add: (message) => void open.set(message, false),
    drop: (message) => void open.delete(message),
    ack: (message) =>
      Effect.uninterruptible(
        Effect.callback((resume) => {
          open.set(message, true)
          if (waiting.push(resume) === 1) queueMicrotask(flush)
        })
      ),
    flush
  }
}
