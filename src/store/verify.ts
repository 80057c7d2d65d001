import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import { linkText } from "./chain.ts"
import { canonicalRow, makeRowDigest } from "./digest.ts"
import { type EventStoreError, EventStoreError as StoreError, InvalidRead } from "./errors.ts"
import { countFault } from "./kit/checks.ts"
import type { ChainLink } from "./maintenance.ts"
import { EventStore } from "./service.ts"
import { digestsOf, eventDigests, isTombstone } from "./tombstone.ts"

/**
 * Something that must not be, found by {@link verify}.
 *
 * @category integrity
 * @since 0.2.0
 */
export interface Finding {
  /** Where it was found; `null` where it has no place. */
  readonly position: number | null
  readonly message: string
}

/**
 * What was verified.
 *
 * @category integrity
 * @since 0.2.0
 */
export interface Verification {
  /** How many events were read. */
  readonly events: number
  /** How many of them are tombstones. */
  readonly removed: number
  /** A SHA-256 over all of them: two stores that hold the same events have the same. */
  readonly digest: string
  /** The part of the range that the hash chain covers, and its newest link; `undefined` where no chain is kept. */
  readonly chain: ChainLink | undefined
}

/**
 * The store does not hold what was appended to it, as far as that can be told.
 *
 * @category errors
 * @since 0.2.0
 */
export class IntegrityError extends Schema.TaggedError<IntegrityError>("eventfold/EventStore/IntegrityError")("IntegrityError", {
  /** What was found, the first hundred of it. */
  findings: Schema.Array(Schema.Struct({ position: Schema.NullOr(Schema.Number), message: Schema.String })),
  /** How much was found. */
  count: Schema.Number
}) {
  override get message(): string {
    const { count, findings } = this
    const told = findings.slice(0, 3).map(({ message, position }) => (position === null ? message : `at ${position}: ${message}`))
    return `The store is not as it should be: ${told.join("; ")}${count > told.length ? `; and ${count - told.length} more` : ""}. Compare it with a backup`
  }
}

/** How far a verification is, and what it has found. */
export type Step =
  | { readonly _tag: "Progress"; readonly position: number; readonly upTo: number }
  | ({ readonly _tag: "Finding" } & Finding)
  | ({ readonly _tag: "Verified" } & Verification)

/**
 * Which part of a store is verified, and against what.
 *
 * @category integrity
 * @since 0.2.0
 */
export interface VerifyOptions {
  /** Only what is beyond this position. Where that is within a link of the chain, the verification begins with that link. Default: 0. */
  readonly after?: number | undefined
  /** Only what is up to this position, and to the end of the link that it is in. Default: the head. */
  readonly upTo?: number | undefined
  /** Heads that were kept elsewhere: the chain of the range must have each of them. Default: none. */
  readonly heads?: ReadonlyArray<Pick<ChainLink, "position" | "digest">> | undefined
}

/** How many events, and links, are read at once. */
const pageSize = 1024
const mostFindings = 100

const finding = (position: number | null, message: string): Step => ({ _tag: "Finding", position, message })

/** Positions and versions without a gap; positions of a part of a log ascend. Memory grows with the number of streams. */
const makeOrder = (after: number, hasGaps: boolean) => {
  let last = after
  const versions = new Map<string, number>()
  return ({ position, stream, version }: RecordedEvent): ReadonlyArray<Step> => {
    const found: Array<Step> = []
    if (hasGaps ? position <= last : position !== last + 1)
      found.push(finding(position, `positions go from ${last} to ${position}`))
    // What comes before the range is not known.
    const before = versions.get(stream) ?? (after === 0 ? 0 : version - 1)
    if (version !== before + 1) found.push(finding(position, `versions of "${stream}" go from ${before} to ${version}`))
    last = position
    versions.set(stream, version)
    return found
  }
}

/** Follows the links as events pass by. */
const makeLinks = (store: EventStore["Service"], before: ChainLink | undefined, heads: VerifyOptions["heads"]) => {
  const expected = new Map(heads?.map(({ digest, position }) => [position, digest]))
  let known: Array<ChainLink> = []
  let last = before
  let digests: Array<string> = []
  let complete = store.maintenance === undefined
  const next = Effect.suspend((): Effect.Effect<ChainLink | undefined, EventStoreError> => {
    if (known.length > 0 || complete) return Effect.succeed(known[0])
    return Effect.map(store.maintenance?.links(last?.position ?? 0, pageSize) ?? Effect.succeed([]), (links) => {
      complete = links.length < pageSize
      known = Array.from(links)
      return known[0]
    })
  })
  const end = Effect.fnUntraced(function* (link: ChainLink): Effect.fn.Return<ReadonlyArray<Step>> {
    const [digest] = yield* digestsOf([linkText(last?.digest, digests)])
    const found: Array<Step> = []
    const place =
      link.after + 1 === link.position ? `position ${link.position}` : `positions ${link.after + 1} to ${link.position}`
    if (last !== undefined && link.after !== last.position) {
      found.push(finding(link.after + 1, `the chain has no link between positions ${last.position} and ${link.after}`))
    } else if (digest !== link.digest) {
      found.push(finding(link.after + 1, `what stands at ${place} is not what was chained there`))
    }
    const head = expected.get(link.position)
    if (head !== undefined && head !== link.digest) {
      found.push(finding(link.position, "the head that was kept elsewhere is another one: the chain was made anew"))
    }
    expected.delete(link.position)
    last = link
    known.shift()
    digests = []
    return found
  })
  return {
    see: Effect.fnUntraced(function* (position: number, digest: string) {
      const link = yield* next
      if (link === undefined || position <= link.after) return nothing
      digests.push(digest)
      return position < link.position ? nothing : yield* end(link)
    }),
    last: () => last,
    rest: (upTo: number): ReadonlyArray<Step> => [
      ...(last !== undefined && last.position < upTo
        ? [finding(last.position + 1, `what stands beyond position ${last.position} is not in the chain`)]
        : []),
      ...Array.from(expected.keys(), (position) =>
        finding(position, "no link of the chain ends at this head that was kept elsewhere")
      )
    ]
  }
}

const nothing: ReadonlyArray<Step> = []

const isDigest = (text: unknown): boolean => typeof text === "string" && /^[0-9a-f]{64}$/.test(text)

/** The steps of a verification. `also` says what else is wrong with an event. */
export const verification = (
  store: EventStore["Service"],
  { after: from = 0, heads, upTo: to }: VerifyOptions = {},
  also: (event: RecordedEvent) => ReadonlyArray<Finding> = () => []
): Stream.Stream<Step, EventStoreError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const fault = countFault("after", from) ?? (to === undefined ? undefined : countFault("upTo", to))
      if (fault !== undefined) return yield* new StoreError({ reason: new InvalidRead({ operation: "verify", detail: fault }) })
      const head = yield* store.head
      const { maintenance } = store
      const before = from === 0 ? undefined : yield* maintenance?.linkBefore(from) ?? Effect.undefined
      const wanted = Math.min(head, to ?? head)
      const [covering] = wanted === 0 ? [] : yield* maintenance?.links(wanted - 1, 1) ?? Effect.succeed([])
      const [first] = before === undefined ? yield* maintenance?.links(0, 1) ?? Effect.succeed([]) : []
      const after = before?.position ?? (first !== undefined && first.after < from && from < first.position ? first.after : from)
      const upTo = Math.max(wanted, covering?.position ?? 0)
      const hasGaps = store.gaps === true
      const order = makeOrder(after, hasGaps)
      const chain = makeLinks(store, before, heads)
      const digest = yield* makeRowDigest
      let [events, removed, last] = [0, 0, after]
      const read = (maintenance?.readAll ?? store.readAll)({ after, upTo }).pipe(
        Stream.rechunk(pageSize),
        Stream.chunks,
        Stream.mapEffect(
          Effect.fnUntraced(function* (page): Effect.fn.Return<ReadonlyArray<Step>, EventStoreError> {
            yield* digest.add(page.map(canonicalRow))
            const digests = yield* eventDigests(maintenance === undefined ? page : page.map(maintenance.stored))
            const found: Array<Step> = []
            for (const [index, event] of page.entries()) {
              found.push(...order(event), ...also(event).map((other): Step => ({ _tag: "Finding", ...other })))
              if (isTombstone(event)) {
                removed++
                if (!isDigest(event.payload.digest)) found.push(finding(event.position, "a tombstone without a digest"))
              }
              found.push(...(yield* chain.see(event.position, digests[index] as string)))
              last = event.position
            }
            events += page.length
            return [...found, { _tag: "Progress", position: last, upTo }]
          })
        ),
        Stream.flattenIterable
      )
      const end = Stream.unwrap(
        Effect.map(digest.value, (digest) =>
          Stream.fromIterable<Step>([
            ...(last < upTo && !(hasGaps && upTo < head)
              ? [finding(last + 1, `positions end at ${last}, and the head is ${upTo}`)]
              : []),
            ...chain.rest(upTo),
            { _tag: "Verified", events, removed, digest, chain: chain.last() }
          ])
        )
      )
      return Stream.concat(read, end)
    }).pipe(Effect.provide(Digest.layerWebCrypto))
  )

/**
 * Reads the store, or a part of it, and fails with what must not be: positions or versions with a gap (positions of a tenant's part of a log that others share have some), and, where a hash chain is kept (the option
 * `chain` of the store), events that are not what was appended.
 *
 * **When to use**: after a restore or a move, after an archive was made, and from time to time.
 *
 * **Details**: a tombstone has the digest of the event that it stands for, so a chain with removed events verifies; `removed` says how many
 * there are. One link is of all events that were committed together: what was changed is told to the link. The range is widened to whole links.
 * Without a chain nothing can be told of what events say; compare the `digest` with that of a copy.
 *
 * **Gotchas**: whoever may rewrite the whole database can make the chain anew. Keep heads elsewhere ({@link signHead}), and give them as `heads`.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *   const { chain, events } = yield* EventStore.verify()
 *   return [events, chain?.position]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemoryWith({ chain: true }))) // => [1, 1]
 * ```
 *
 * @category integrity
 * @since 0.2.0
 */
export const verify = (options?: VerifyOptions): Effect.Effect<Verification, IntegrityError | EventStoreError, EventStore> =>
  EventStore.use((store) => verifyStore(store, options))

/** {@link verify} of a store. */
export const verifyStore = (
  store: EventStore["Service"],
  options?: VerifyOptions
): Effect.Effect<Verification, IntegrityError | EventStoreError> =>
  Effect.suspend(() => {
    const findings: Array<Finding> = []
    let count = 0
    let verified: Verification | undefined
    return Effect.flatMap(
      Stream.runForEach(verification(store, options), (step) =>
        Effect.sync(() => {
          if (step._tag === "Verified") {
            const { chain, digest, events, removed } = step
            verified = { chain, digest, events, removed }
          }
          if (step._tag !== "Finding") return
          if (count++ < mostFindings) findings.push({ position: step.position, message: step.message })
        })
      ),
      () =>
        count === 0 && verified !== undefined ? Effect.succeed(verified) : Effect.fail(new IntegrityError({ findings, count }))
    )
  })
