/**
 * A subscription: a member of its group's consumer in this process, and what is said of each message.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { closed, deliveriesOf, makeDelivery, makeInFlight, type Members, wrap } from "../transport/kit.ts"
import type { CloudEvent, Delivery, SubscribeOptions, TransportError } from "../transport/Transport.ts"
import type { Group, Handed, Member } from "./group.ts"

/** What is no CloudEvent: its place is its name. */
const wrapped = (topic: string, { offset, record }: Handed): CloudEvent =>
  wrap({
    source: `kafka:${encodeURIComponent(topic)}/${record.partition}`,
    id: String(offset),
    body: record.record.value ?? ""
  })

/** Joins a group. The stream fails when the group cannot go on, and when the Layer closes. */
export const join = Effect.fnUntraced(function* (
  topic: string,
  group: Group,
  members: Members<Member>,
  { concurrency = 1, types, unreadable }: SubscribeOptions
): Effect.fn.Return<Stream.Stream<Delivery, TransportError>, never, Scope.Scope> {
  const received = yield* Queue.unbounded<Handed, TransportError>()
  const inFlight = makeInFlight<Handed>()
  const asked = types === undefined ? undefined : new Set(types)

  const member: Member = {
    wants: (incoming) => {
      if (asked !== undefined) {
        const { message } = incoming
        // What is no message is of no type, and is not passed over in silence.
        if (Result.isSuccess(message) && !asked.has(message.success.type)) return "never"
      }
      return inFlight.size < concurrency ? "now" : "later"
    },
    give: (handed) => {
      inFlight.add(handed)
      Queue.offerUnsafe(received, handed)
    },
    fail: (error) => Queue.failCauseUnsafe(received, Cause.fail(error))
  }
  yield* members.join(
    member,
    Effect.sync(() => {
      group.leave(member, inFlight.end())
      Queue.failCauseUnsafe(received, Cause.fail(closed("subscribe")))
    })
  )
  group.join(member)

  const settle = (handed: Handed): Parameters<typeof makeDelivery>[2] => {
    return (delay) =>
      inFlight.settle(handed, undefined, () => (delay === undefined ? group.ack(handed) : group.nack(handed, delay)))
  }
  const accept = (handed: Handed): Delivery | Effect.Effect<void, TransportError> => {
    handed.seen = true
    const { message } = handed.record
    if (Result.isSuccess(message)) return makeDelivery(message.success, handed.attempt, settle(handed))
    if (unreadable === "deliver") {
      return makeDelivery(wrapped(topic, handed), handed.attempt, settle(handed), message.failure)
    }
    const what = `the record ${handed.offset} of the partition ${handed.record.partition} of the topic "${topic}"`
    return Effect.andThen(
      Effect.logError(`eventfold: ${what} is no message, and set aside`, message.failure),
      settle(handed)(undefined)
    )
  }
  return deliveriesOf(received, accept)
})
