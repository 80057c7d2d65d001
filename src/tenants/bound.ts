/**
 * A store that is bound to its tenant at its place. It refuses events that say that they are another's, and appends to a place that the
 * tenant has left: what seals a place is an event of its log, so all processes see it under the lock under which they append.
 */
import * as Effect from "effect/Effect"
import {
  type AppendCondition,
  type AppendError,
  AppendConditionError,
  EventStore,
  EventStoreError,
  ExpectedVersion,
  InvalidAppendError,
  type StreamAppend,
  StoreUnavailable
} from "../store/EventStore.ts"
import type { AppendResult } from "../store/EventStore.ts"
import type { NewEvent } from "../definitions/stored.ts"
import { tenantStream } from "../definitions/tenant.ts"
import type { TenantEntry } from "./registry.ts"

type Store = EventStore["Service"]

/** The event that seals a place. */
const sealing = { stream: tenantStream, type: "$TenantSealed" } as const

const sealTag = (epoch: number): string => `$tenant-sealed:${epoch}`

/** The event that seals the place of an epoch; the same each time, so it stands once. */
export const sealEvent = ({ epoch, id }: TenantEntry): StreamAppend & { readonly events: readonly [NewEvent] } => ({
  stream: sealing.stream,
  events: [{ id: `$tenant-sealed:${id}:${epoch}`, type: sealing.type, payload: { epoch }, tags: [sealTag(epoch)] }]
})

const otherTenant = (appends: ReadonlyArray<StreamAppend>, id: string): InvalidAppendError | undefined => {
  for (const { events, stream } of appends) {
    for (const [index, { metadata }] of events.entries()) {
      const named = metadata?.["tenant"]
      if (named === undefined || named === id) continue
      return new InvalidAppendError({
        stream: String(stream),
        field: `events[${index}].metadata.tenant`,
        problem: `says ${JSON.stringify(named)}, and this is the store of the tenant ${JSON.stringify(id)}`
      })
    }
  }
  return undefined
}

/** The store of a tenant. `left` is told when its place turns out to have been sealed. */
export const bound = (store: Store, entry: TenantEntry, left: Effect.Effect<void>): Store => {
  const tag = sealTag(entry.epoch)
  const open: AppendCondition = { filter: { tags: [tag] } }
  const isSealed = (error: AppendError): boolean => {
    const [query] = error instanceof AppendConditionError ? (error.condition?.filter ?? []) : []
    return query?.tags?.[0] === tag && query.tags.length === 1
  }
  const sealed = new EventStoreError({
    reason: new StoreUnavailable({
      operation: "append",
      detail: `the tenant ${JSON.stringify(entry.id)} leaves its place ${JSON.stringify(entry.place)}, or has left it: ask for its store again`
    })
  })
  const appendAll = (
    appends: ReadonlyArray<StreamAppend>,
    unless: ReadonlyArray<AppendCondition>
  ): Effect.Effect<ReadonlyArray<AppendResult>, AppendError> =>
    Effect.suspend(() => {
      const other = otherTenant(appends, entry.id)
      if (other !== undefined) return Effect.fail(other)
      return Effect.catchIf(store.appendAll(appends, { unless: [...unless, open] }), isSealed, () =>
        Effect.andThen(left, Effect.fail(sealed))
      )
    })
  return EventStore.of({
    ...store,
    ...(store.sealed === undefined ? {} : { sealed: { ...store.sealed, store: bound(store.sealed.store, entry, left) } }),
    tenant: entry.id,
    append: (stream, events, options) =>
      Effect.map(
        appendAll([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }], []),
        (results) => results[0] as AppendResult
      ),
    appendAll: (appends, { unless = [] } = {}) =>
      appendAll(appends, Array.isArray(unless) ? (unless as ReadonlyArray<AppendCondition>) : [unless as AppendCondition])
  })
}
