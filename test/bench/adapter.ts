/**
 * What the cases use under names that older builds did not have, for `--against` runs them on such builds too: what a build
 * exports decides. A case that needs something else that is not there fails, and the others go on.
 */
import { Effect, Stream } from "effect"
import * as eventfold from "eventfold"
import { type EventStore, Snapshots } from "eventfold"

/** The Layer with options of a module: it was called `layer`. */
export const layerWith = <F>(module: { readonly layerWith: F; readonly layer: unknown }): F =>
  module.layerWith ?? (module.layer as F)

export const sqlSnapshots = Snapshots.layerSqlWith ?? (Snapshots.layerSql as unknown as typeof Snapshots.layerSqlWith)

/** Was part of `Transport`. */
export const consumer: (typeof eventfold)["Consumer"]["layer"] =
  (eventfold as Partial<typeof eventfold>).Consumer?.layer ??
  (eventfold.Transport as unknown as { readonly layerConsumer: (typeof eventfold)["Consumer"]["layer"] }).layerConsumer

/** What a build has that is younger than some builds. */
export const { Decision, Tag } = eventfold as Partial<typeof eventfold>

/** The events that pass a filter, and the position up to which they are all: two questions, where the store cannot be asked at once. */
export const boundary = (store: EventStore.EventStore["Service"], filter: EventStore.Query) =>
  (store as Partial<typeof store>).readBoundary === undefined
    ? Effect.gen(function* () {
        const position = yield* store.head
        const events = yield* Stream.runCollect(store.readAll({ filter }))
        return { position, events: events.filter((event) => event.position <= position) }
      })
    : Effect.map(store.readBoundary([{ filter }]), ({ answers, position }) => ({ position, events: answers[0]?.events ?? [] }))
