import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { nameFault } from "../../definitions/names.ts"
import { forgetKept } from "../../internal/forgetting.ts"
import { type EventStoreError, EventStoreError as StoreError, InvalidRead } from "../errors.ts"
import type { ChainLink, Maintenance } from "../maintenance.ts"
import { eventDigests, isTombstone, tombstoneText, tombstoneType } from "../tombstone.ts"
import type { Driver } from "./make.ts"
import { prepare } from "./prepare.ts"

/**
 * An event that is to be removed.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface Removal {
  readonly stream: string
  readonly position: number
  /** What the event is called, to be sure of it. */
  readonly id: string
  /** JSON text: the payload of the tombstone. */
  readonly payload: string
}

/**
 * What a store does in a way of its own to be maintained.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface MaintenanceDriver {
  /**
   * Makes tombstones of the events at these positions, in ascending order, all or nothing, and durable when it succeeds: the type is `$Tombstone`, the payload is that of the
   * removal, tags and metadata are empty, `published` is false, all else stays. One that is a tombstone already is left. Gives how many were
   * changed. Streams in `closed` that are not at the version there any more are left as they are; no append comes between that look and the
   * removal.
   */
  readonly tombstone: (
    removals: ReadonlyArray<Removal>,
    why: { readonly reason: string; readonly archive: string | undefined; readonly closed: ReadonlyMap<string, number> }
  ) => Effect.Effect<number, EventStoreError>
  /** See `Maintenance.newestTombstone`. Default: the log is read backward for it. */
  readonly newestTombstone?: Maintenance["newestTombstone"] | undefined
  /** See `Maintenance.batch`. Default: 200. */
  readonly batch?: number | undefined
  /** See `Maintenance.stored`. Default: an event is stored as it is read. */
  readonly stored?: Maintenance["stored"] | undefined
  /** See `Maintenance.links`. Default: the store keeps no hash chain. */
  readonly links?: Maintenance["links"] | undefined
  /** See `Maintenance.linkBefore`. Default: the store keeps no hash chain. */
  readonly linkBefore?: Maintenance["linkBefore"] | undefined
}

const nothingClosed: ReadonlyMap<string, number> = new Map()

/**
 * What of it may go: of closed streams only those that nothing has been appended to since.
 *
 * @category adapters
 * @since 0.2.0
 */
export const stillClosed = (
  removals: ReadonlyArray<Removal>,
  closed: ReadonlyMap<string, number>,
  version: (stream: string) => number
): ReadonlyArray<Removal> =>
  removals.filter(({ stream }) => {
    const at = closed.get(stream)
    return at === undefined || at === version(stream)
  })

const asItIs = (event: RecordedEvent): RecordedEvent => event

const noLinks: ReadonlyArray<ChainLink> = []

const refuse = (detail: string) => Effect.fail(new StoreError({ reason: new InvalidRead({ operation: "tombstone", detail }) }))

/** What a store's maintenance is, made of what is particular to it. */
export const makeMaintenance = (
  append: Driver["append"],
  reads: Pick<Maintenance, "read" | "readAll">,
  { stored = asItIs, ...driver }: MaintenanceDriver
): Maintenance => ({
  ...reads,
  stored,
  tombstone: (events, { archive, closed = nothingClosed, reason }) =>
    Effect.suspend(() => {
      const fault = nameFault(reason)
      if (fault !== undefined) return refuse(`the reason ${fault}`)
      const archiveFault = archive === undefined ? undefined : nameFault(archive)
      if (archiveFault !== undefined) return refuse(`the name of the archive ${archiveFault}`)
      const removed = new Map<number, RecordedEvent>()
      for (const event of events) if (!isTombstone(event)) removed.set(event.position, event)
      if (removed.size === 0) return Effect.succeed(0)
      const inOrder = Array.from(removed.values()).sort((a, b) => a.position - b.position)
      return Effect.flatMap(eventDigests(inOrder.map(stored)), (digests) =>
        Effect.tap(
          driver.tombstone(
            inOrder.map(({ id, position, stream, type }, index) => ({
              stream,
              position,
              id,
              payload: tombstoneText({
                type,
                reason,
                digest: digests[index] as string,
                ...(archive === undefined ? {} : { archive })
              })
            })),
            { reason, archive, closed }
          ), // A state that has been folded of what is gone is not to be decided on.
          () => Effect.sync(forgetKept)
        )
      )
    }),
  newestTombstone:
    driver.newestTombstone ??
    Effect.map(
      Stream.runHead(reads.readAll({ filter: { types: [tombstoneType] }, direction: "backward", limit: 1 })),
      Option.match({ onNone: () => 0, onSome: ({ position }) => position })
    ),
  batch: driver.batch ?? 200,
  copyAll: (appends) => append(prepare(appends, undefined, "copy")),
  links: driver.links ?? (() => Effect.succeed(noLinks)),
  linkBefore: driver.linkBefore ?? (() => Effect.undefined)
})
