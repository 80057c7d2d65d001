/**
 * The file as it is written: its end is put in order when it is opened, then whole appends are added to it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import { crc32 } from "node:zlib"
import { answerEach, makeGroupCommit, type Submitted, takeUpTo } from "../internal/groupCommit.ts"
import type { Signal } from "../internal/signal.ts"
import { type AppendError, type AppendResult, EventStoreError, OutcomeUnknown } from "../store/EventStore.ts"
import {
  type Driver,
  type Located,
  makeBatch,
  parseMetadata,
  type PreparedAppend,
  type Write,
  writePayload
} from "../store/kit/index.ts"
import { type Chain, nextLink } from "./chain.ts"
import { failAs, unavailable } from "./file.ts"
import { encodeLine } from "./line.ts"
import { fetchAll, type Log } from "./log.ts"
import type { Entry } from "./lookup.ts"

/**
 * What was cut off from the end of a file: an append that a crash had interrupted, and that was never acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export interface Repair {
  readonly path: string
  /** The first line that is gone. */
  readonly line: number
  /** Where it began: now the length of the file. */
  readonly offset: number
  /** How many bytes are gone. */
  readonly bytes: number
}

type Results = ReadonlyArray<AppendResult>
type Request = Submitted<PreparedAppend, Results, AppendError>
type Verdict = Exit.Exit<Results, AppendError>

/** Cuts off what stands behind the last whole append of a file with `size` bytes. */
export const repair = Effect.fnUntraced(function* (
  { end, index, path, source: { file } }: Log,
  size: number,
  onRepair: ((repair: Repair) => Effect.Effect<void>) | undefined
) {
  const repaired: Repair = { path, line: index.standing.head + 1, offset: end, bytes: size - end }
  yield* failAs("repair", Effect.andThen(file.truncate(end), file.sync))
  yield* Effect.logWarning(
    `Cut off the ${repaired.bytes} bytes of an unfinished append from the end of ${path}, at line ${repaired.line}`
  )
  if (onRepair !== undefined) yield* onRepair(repaired)
})

/**
 * Appends by group commit: one write and one fsync for all that wait while the disk is busy. Each batch has the turn while it is decided and
 * written.
 */
export const makeAppend = Effect.fnUntraced(function* (
  log: Log,
  signal: Signal,
  chain: Chain | undefined,
  turn: Semaphore.Semaphore
): Effect.fn.Return<Driver["append"], never, Scope.Scope> {
  /** A write failed and could not be taken back: what stands at the end of the file is not known. */
  let broken = false

  /** Writes a batch. Its callers are answered while the next one is on its way. */
  const write = (requests: ReadonlyArray<Request>): Effect.Effect<() => void> =>
    Effect.suspend(() => {
      const refuse = (error: EventStoreError) => Effect.succeed(refusal(requests, error))
      if (broken)
        return refuse(unavailable("append", `a write to ${log.path} failed and could not be undone: open the store again`))
      const appends = requests.map(({ request }) => request)
      return Effect.matchEffect(
        Effect.map(located(log, appends), (known) => decideBatch(log, chain, appends, known)),
        { onSuccess: (decided) => writeBatch(requests, decided), onFailure: refuse }
      )
    })

  const writeBatch = (
    requests: ReadonlyArray<Request>,
    { bytes, end, entries, link, verdicts }: ReturnType<typeof decideBatch>
  ): Effect.Effect<() => void> => {
    const answerAll = () => answerEach(requests, verdicts)
    if (bytes.length === 0) return Effect.succeed(answerAll)
    return Effect.matchEffect(failAs("append", Effect.andThen(log.source.file.writeAll(bytes), log.source.file.sync)), {
      onSuccess: () =>
        Effect.sync(() => {
          entries.forEach(log.index.add)
          log.end = end
          log.digest = crc32(bytes, log.digest)
          if (chain !== undefined) chain.before = link
          signal.notify(log.index.standing.head)
          return answerAll
        }),
      onFailure: (error) =>
        Effect.map(takeBack(log, error), (known) => {
          broken = known.reason._tag === "OutcomeUnknown"
          return refusal(requests, known)
        })
    })
  }

  const writer = yield* makeGroupCommit<PreparedAppend, Results, AppendError>({
    capacity: 8192,
    maxBatch: 512,
    take: takeUpTo(4 * 1024 * 1024),
    // Most of what a batch takes is work of this process, which two halves cannot share.
    halvesFrom: 192,
    write: (requests) => turn.withPermit(write(requests)),
    closed: () => unavailable("append", "the store has been closed")
  })
  return writer.submit
})

const refusal = (requests: ReadonlyArray<Request>, error: EventStoreError) => () =>
  requests.forEach(({ answer }) => answer(Exit.fail(error)))

/** The events whose ids are in use, read from the file: the index does not keep their payloads, and repetitions are rare. */
const located = (
  log: Log,
  appends: ReadonlyArray<PreparedAppend>
): Effect.Effect<ReadonlyMap<string, Located>, EventStoreError> => {
  const entries = new Map<string, Entry>()
  const add = (id: string): void => {
    const entry = log.index.standing.locate(id)
    if (entry !== undefined) entries.set(id, entry)
  }
  for (const append of appends) {
    for (const { events } of append.appends) for (const { fresh, id } of events) if (!fresh) add(id)
    for (const { afterId } of append.unless) if (afterId !== undefined) add(afterId)
  }
  if (entries.size === 0) return noneLocated
  const inOrder = Array.from(entries.values()).sort((a, b) => a.position - b.position)
  return Effect.map(
    fetchAll(log, inOrder, "append"),
    (events) => new Map(events.map((event) => [event.id, { ...event, payload: writePayload(event.payload) }]))
  )
}

const noneLocated: Effect.Effect<ReadonlyMap<string, Located>> = Effect.succeed(new Map())

/** Decides the appends of a batch: the answers, the lines to write, and where the file will end. */
const decideBatch = (
  log: Log,
  chain: Chain | undefined,
  appends: ReadonlyArray<PreparedAppend>,
  known: ReadonlyMap<string, Located>
) => {
  const { head, newest, newestMatch } = log.index.standing
  const batch = makeBatch({ head, newest, newestMatch, locate: (id) => known.get(id) })
  const entries: Array<Entry> = []
  const lines: Array<string> = []
  let end = log.end
  let link = chain?.before
  const verdicts = appends.map((append): Verdict => {
    const verdict = batch.decide(append)
    const commit = batch.writes.at(-1)?.position ?? 0
    const written = batch.writes.slice(lines.length)
    if (link !== undefined && written.length > 0) link = nextLink(link, written)
    for (const write of written) {
      const line = encodeLine(write, commit, write.position === commit ? link?.digest : undefined)
      const length = Buffer.byteLength(line) - 1
      entries.push(entryOf(write, end, length))
      lines.push(line)
      end += length + 1
    }
    return verdict
  })
  return { end, link, entries, bytes: Buffer.from(lines.join("")), verdicts }
}

const entryOf = ({ event, position, stream, version }: Write, offset: number, length: number): Entry => {
  const { id, metadata, published, recordedAt, tags, type } = event
  return { stream, version, position, id, type, published, tags, metadata: parseMetadata(metadata), recordedAt, offset, length }
}

/** After a failed write: takes back what may stand in the file already. The error says whether that is known to be gone. */
const takeBack = ({ end, source: { file } }: Log, error: EventStoreError): Effect.Effect<EventStoreError> =>
  Effect.match(Effect.andThen(file.truncate(end), file.sync), {
    onSuccess: () => error,
    onFailure: (cause) =>
      new EventStoreError({ reason: new OutcomeUnknown({ operation: "append", detail: error.reason.detail, cause }) })
  })
