/** Events go: to the archive first, if they are to, and are compared there with what stands in the store; then tombstones take their places. */
import * as Effect from "effect/Effect"
import type { RecordedEvent } from "../definitions/stored.ts"
import { type Archive, ArchiveError } from "../store/Archive.ts"
import type { EventStoreError, Maintenance } from "../store/EventStore.ts"
import { eventDigests } from "../store/tombstone.ts"

/** Writes events to an archive, and reads back what it says it has. */
const moveTo = Effect.fnUntraced(function* (
  maintenance: Maintenance,
  archive: Archive["Service"],
  events: ReadonlyArray<RecordedEvent>
): Effect.fn.Return<void, ArchiveError | EventStoreError> {
  yield* archive.write(events, { chain: yield* maintenance.linkBefore(Number.MAX_SAFE_INTEGER) })
  const streams = new Map<string, Array<RecordedEvent>>()
  for (const event of events) {
    const before = streams.get(event.stream)
    if (before === undefined) streams.set(event.stream, [event])
    else before.push(event)
  }
  for (const [stream, written] of streams) {
    const versions = written.map(({ version }) => version)
    const read = yield* archive.read(stream, { from: Math.min(...versions), to: Math.max(...versions) })
    const byVersion = new Map(read.map((event) => [event.version, event]))
    const damaged = (version: number) =>
      new ArchiveError({
        archive: archive.name,
        isDamaged: true,
        problem: `version ${version} of "${stream}" reads differently from what was written`
      })
    const found: Array<RecordedEvent> = []
    for (const { position, version } of written) {
      const event = byVersion.get(version)
      if (event === undefined) return yield* damaged(version)
      // An archive may have positions of its own.
      found.push({ ...event, position })
    }
    const [wanted, got] = [yield* eventDigests(written), yield* eventDigests(found)]
    const wrong = written.find((_, index) => wanted[index] !== got[index])
    if (wrong !== undefined) return yield* damaged(wrong.version)
  }
})

/** Removes events; gives how many there were. */
export const remove = (
  maintenance: Maintenance,
  archive: Archive["Service"] | undefined,
  events: ReadonlyArray<RecordedEvent>,
  reason: string,
  /** Streams that go as a whole, with the version that they must be at. */
  closed: ReadonlyMap<string, number>
) =>
  Effect.andThen(
    archive === undefined ? Effect.void : moveTo(maintenance, archive, events),
    maintenance.tombstone(events, { reason, archive: archive?.name, closed })
  )
