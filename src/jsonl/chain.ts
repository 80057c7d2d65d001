/**
 * The hash chain of a file: the last line of each append has the digest of its link. It is of all events since the line before that has one; the
 * first is of its append.
 */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import type { ChainLink, EventStoreError } from "../store/EventStore.ts"
import { keptDigest, linkText, storedEvent, type Write, writePayload } from "../store/kit/index.ts"
import type { Line } from "./line.ts"
import { linesBetween, type Log } from "./log.ts"

/** What the next link is made of: the digest before it, and those of events that a program of an earlier release has appended since. */
interface Before {
  readonly digest: string
  readonly missed: ReadonlyArray<string>
}

/** A chain as it is written. */
export interface Chain {
  before: Before | undefined
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

/** The link of what an append writes. */
export const nextLink = ({ digest, missed }: Before, writes: ReadonlyArray<Write>): Before => ({
  digest: sha256(linkText(digest, [...missed, ...writes.map((write) => keptDigest(storedEvent(write), sha256))])),
  missed: []
})

const digestOf = (line: Line): string =>
  keptDigest(
    {
      ...line,
      recordedAt: Date.parse(line.recordedAt),
      metadata: writePayload(line.metadata as Line["payload"]),
      payload: writePayload(line.payload)
    },
    sha256
  )

const operation = "links"
/** How many lines are looked at at once. */
const pageSize = 1024

/** The newest line with a link, up to a position. */
const lineBefore = (log: Log, upTo: number): Effect.Effect<Line | undefined, EventStoreError> =>
  Effect.gen(function* () {
    for (let to = Math.min(upTo, log.index.standing.head); to > 0; to -= pageSize) {
      const lines = yield* linesBetween(log, Math.max(1, to - pageSize + 1), to, operation)
      const found = lines.findLast(({ chain }) => chain !== undefined)
      if (found !== undefined) return found
    }
    return undefined
  })

/** The chain of a log that is opened for writing: none where none is wanted and the last append has no link. */
export const openChain = Effect.fnUntraced(function* (
  log: Log,
  wanted: boolean
): Effect.fn.Return<Chain | undefined, EventStoreError> {
  const { head } = log.index.standing
  const [last] = head === 0 ? [] : yield* linesBetween(log, head, head, operation)
  if (last?.chain === undefined && !wanted) return undefined
  const line = last?.chain === undefined ? yield* lineBefore(log, head - 1) : last
  if (line === undefined) return { before: { digest: "", missed: [] } }
  const missed: Array<string> = []
  for (let from = line.position + 1; from <= head; from += pageSize) {
    missed.push(...(yield* linesBetween(log, from, Math.min(head, from + pageSize - 1), operation)).map(digestOf))
  }
  return { before: { digest: line.chain ?? "", missed } }
})

/** Where the append begins that ends with a line: the position before its first. */
const beforeAppend = (log: Log, { commit, position }: Line): Effect.Effect<number, EventStoreError> =>
  Effect.gen(function* () {
    for (let to = position - 1; to > 0; to -= pageSize) {
      const lines = yield* linesBetween(log, Math.max(1, to - pageSize + 1), to, operation)
      const other = lines.findLast((line) => line.commit !== commit)
      if (other !== undefined) return other.position
    }
    return 0
  })

export const linkBefore = (log: Log, upTo: number): Effect.Effect<ChainLink | undefined, EventStoreError> =>
  Effect.gen(function* () {
    const line = yield* lineBefore(log, upTo)
    if (line?.chain === undefined) return undefined
    const before = yield* lineBefore(log, line.position - 1)
    return { after: before?.position ?? (yield* beforeAppend(log, line)), position: line.position, digest: line.chain }
  })

export const links = (log: Log, after: number, size: number): Effect.Effect<ReadonlyArray<ChainLink>, EventStoreError> =>
  Effect.gen(function* () {
    const { head } = log.index.standing
    const found: Array<ChainLink> = []
    let before = (yield* lineBefore(log, after))?.position
    for (let from = after + 1; from <= head && found.length < size; from += pageSize) {
      for (const line of yield* linesBetween(log, from, Math.min(head, from + pageSize - 1), operation)) {
        if (line.chain === undefined || found.length === size) continue
        found.push({ after: before ?? (yield* beforeAppend(log, line)), position: line.position, digest: line.chain })
        before = line.position
      }
    }
    return found
  })
