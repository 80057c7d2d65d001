import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import { canonicalJson } from "../internal/json.ts"

/** Rows are hashed so many at a time … */
const blockRows = 256
/** … or fewer, when they are long (UTF-16 code units). */
const blockLength = 1024 * 1024

interface Event {
  readonly position: number
  readonly stream: string
  readonly version: number
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  readonly recordedAt: { readonly epochMilliseconds: number }
  readonly metadata: unknown
  readonly payload: unknown
}

/** An event as text that is the same whatever store it comes from: object keys are sorted, as some databases do. */
export const canonicalRow = (event: Event): string =>
  canonicalJson([
    event.position,
    event.stream,
    event.version,
    event.id,
    event.type,
    event.schemaVersion,
    event.published,
    event.tags,
    event.recordedAt.epochMilliseconds,
    event.metadata,
    event.payload
  ])

/** A SHA-256 over a sequence of rows, as a chain of blocks, so that memory is bounded. */
export interface RowDigest {
  readonly add: (rows: ReadonlyArray<string>) => Effect.Effect<void>
  /** The digest of all rows so far, in hexadecimal. */
  readonly value: Effect.Effect<string>
}

export const makeRowDigest: Effect.Effect<RowDigest, never, Digest.Digest> = Effect.map(Digest.Digest, (digest) => {
  const encoder = new TextEncoder()
  let chain = ""
  let block: Array<string> = []
  let length = 0
  const value = Effect.suspend(() => digest.digestHex(Digest.sha256, encoder.encode([chain, ...block].join("\n"))))
  return {
    value,
    add: Effect.fnUntraced(function* (rows) {
      for (const row of rows) {
        block.push(row)
        length += row.length
        if (block.length < blockRows && length < blockLength) continue
        chain = yield* value
        block = []
        length = 0
      }
    })
  }
})
