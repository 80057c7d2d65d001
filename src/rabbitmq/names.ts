/**
 * How exchanges, queues, types and delays are called at the broker.
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import { createHash } from "node:crypto"

/** The names of one transport. */
export interface Names {
  readonly exchange: string
  /** The exchange of messages that wait. */
  readonly delays: string
  readonly queueOf: (group: string) => string
  /** The queue of messages that wait for so many milliseconds. */
  readonly delayQueueOf: (millis: number) => string
  /** The routing key of a type. */
  readonly keyOf: (type: string) => string
}

const routingKeyBytes = 255
const exchangeBytes = 64
const delaySteps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]
const minDelay = 100
const maxDelay = 4_000_000_000 // a time to live has 32 bits

const encodeName = (name: string, room: number): string => {
  const encoded = encodeURIComponent(name.toWellFormed()).replaceAll("*", "%2A").replaceAll("~", "%7E")
  if (encoded.length <= room) return encoded
  const digest = `~${createHash("sha256").update(name).digest("hex")}`
  return encoded.slice(0, room - digest.length) + digest
}

export const makeNames = (name: string): Names => {
  const exchange = encodeName(name, exchangeBytes)
  const delays = `${exchange}~delay`
  return {
    exchange,
    delays,
    queueOf: (group) => `${exchange}.${encodeName(group, routingKeyBytes - exchange.length - 1)}`,
    delayQueueOf: (millis) => `${delays}.${millis}`,
    keyOf: (type) => encodeName(type, routingKeyBytes)
  }
}

/** The type that a routing key stands for, as far as it is one. */
export const typeOf = (routingKey: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(routingKey)),
    () => routingKey
  )

/** The delay in milliseconds, rounded up to one that has a queue. */
export const delayStep = (delay: Duration.Duration): number => {
  const millis = Math.min(Math.max(Duration.toMillis(delay), minDelay), maxDelay)
  const power = 10 ** Math.floor(Math.log10(millis))
  return Math.round((delaySteps.find((step) => step * power >= millis) ?? 10) * power)
}
