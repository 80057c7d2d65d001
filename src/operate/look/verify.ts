/** Reads the whole log, and says what must not be. */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { Checkpoint } from "../../store/Checkpoints.ts"
import { canonicalRow, makeRowDigest } from "../../store/digest.ts"
import type { UnavailableError } from "../contract/errors.ts"
import type { VerifyStep } from "../contract/views.ts"
import { orUnavailable, type Parts, unavailable } from "../parts.ts"

/** How many events are read at once. */
const pageSize = 1024

const finding = (position: number | null, message: string): VerifyStep => ({ _tag: "Finding", position, message })

/** Looks at events in the order of their positions. Memory grows with the number of streams. */
const makeChecks = (checkpoints: ReadonlyArray<Checkpoint>) => {
  let last = 0
  const versions = new Map<string, number>()
  const seen = new Map<number, Array<Checkpoint>>()
  for (const checkpoint of checkpoints) {
    if (checkpoint.seen === undefined) continue
    seen.set(checkpoint.seen.position, [...(seen.get(checkpoint.seen.position) ?? []), checkpoint])
  }
  return (event: RecordedEvent): ReadonlyArray<VerifyStep> => {
    const { id, position, stream, version } = event
    const found: Array<VerifyStep> = []
    if (position !== last + 1) found.push(finding(position, `positions go from ${last} to ${position}`))
    const before = versions.get(stream) ?? 0
    if (version !== before + 1) found.push(finding(position, `versions of "${stream}" go from ${before} to ${version}`))
    for (const { name, seen: other } of seen.get(position) ?? []) {
      if (other?.id !== id)
        found.push(finding(position, `the checkpoint "${name}" has seen another event here: "${other?.id}", not "${id}"`))
    }
    last = position
    versions.set(stream, version)
    return found
  }
}

/** The steps of a verification. */
export const verify = (parts: Parts): Stream.Stream<VerifyStep, UnavailableError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { checkpoints, store } = parts
      const [head, all] = yield* orUnavailable(Effect.all([store.head, checkpoints.list]))
      const digest = yield* makeRowDigest
      const check = makeChecks(all)
      let [events, findings] = [0, 0]
      const ahead = all
        .filter(({ position }) => position > head)
        .map(({ name, position }) => finding(null, `the checkpoint "${name}" stands at ${position}, and the log ends at ${head}`))
      const read = store.readAll({ upTo: head }).pipe(
        Stream.mapError(unavailable),
        Stream.rechunk(pageSize),
        Stream.chunks,
        Stream.mapEffect((page) =>
          Effect.map(digest.add(page.map(canonicalRow)), (): ReadonlyArray<VerifyStep> => {
            const found = page.flatMap(check)
            events += page.length
            findings += found.length
            return [...found, { _tag: "Progress", position: page.at(-1)?.position ?? 0, head }]
          })
        ),
        Stream.flattenIterable
      )
      const end = Effect.map(digest.value, (digest): VerifyStep => {
        return { _tag: "Verified", events, findings: findings + ahead.length, digest }
      })
      return Stream.fromIterable(ahead).pipe(Stream.concat(read), Stream.concat(Stream.fromEffect(end)))
    }).pipe(Effect.provide(Digest.layerWebCrypto))
  )
