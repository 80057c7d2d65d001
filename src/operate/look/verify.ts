/** Reads the whole log, and says what must not be. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { Checkpoint } from "../../store/Checkpoints.ts"
import type { Finding } from "../../store/EventStore.ts"
import { verification } from "../../store/verify.ts"
import type { UnavailableError } from "../contract/errors.ts"
import type { VerifyStep } from "../contract/views.ts"
import { orUnavailable, type Parts, unavailable } from "../parts.ts"

/** Whether checkpoints have seen the event that stands where they have. */
const makeSeen = (checkpoints: ReadonlyArray<Checkpoint>) => {
  const seen = new Map<number, Array<Checkpoint>>()
  for (const checkpoint of checkpoints) {
    if (checkpoint.seen === undefined) continue
    seen.set(checkpoint.seen.position, [...(seen.get(checkpoint.seen.position) ?? []), checkpoint])
  }
  return ({ id, position }: RecordedEvent): ReadonlyArray<Finding> =>
    (seen.get(position) ?? [])
      .filter(({ seen: other }) => other?.id !== id)
      .map(({ name, seen: other }) => ({
        position,
        message: `the checkpoint "${name}" has seen another event here: "${other?.id}", not "${id}"`
      }))
}

/** The steps of a verification. */
export const verify = (parts: Parts): Stream.Stream<VerifyStep, UnavailableError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { checkpoints, store } = parts
      // In this order: none is ahead of a log that is read after it.
      const [all, head] = yield* orUnavailable(Effect.all([checkpoints.list, store.head]))
      const ahead = all
        .filter(({ position }) => position > head)
        .map(({ name, position }): VerifyStep => ({
          _tag: "Finding",
          position: null,
          message: `the checkpoint "${name}" stands at ${position}, and the log ends at ${head}`
        }))
      let findings = ahead.length
      const read = verification(store, { upTo: head }, makeSeen(all)).pipe(
        Stream.mapError(unavailable),
        Stream.map((step): VerifyStep => {
          switch (step._tag) {
            case "Progress":
              return { _tag: "Progress", position: step.position, head }
            case "Finding":
              findings += 1
              return step
            case "Verified": {
              const { chain, digest, events, removed } = step
              return { _tag: "Verified", events, removed, findings, digest, chained: chain?.position ?? null }
            }
          }
        })
      )
      return Stream.concat(Stream.fromIterable(ahead), read)
    })
  )
