/** The projection that several processes run: how many events there were, and where. */
import { Effect, Schema } from "effect"
import { Event, Projection } from "eventfold"

export const Counted = Event.make("Counted", {})
export const Held = Event.make("Held", {})

type Seen = Projection.Envelope<(typeof Counted | typeof Held)["Type"]>

export const definition = (schema: string, options: { readonly onEvent?: (seen: Seen) => Effect.Effect<void> } = {}) => {
  const { onEvent = () => Effect.void } = options
  // One row that all events change: what is applied twice or not at all cannot be overlooked.
  const Counts = Projection.table(`${schema}.counts`, { key: "id", fields: { id: Schema.String, count: Schema.Int } })
  const Positions = Projection.table(`${schema}.positions`, { key: "id", fields: { id: Schema.String, times: Schema.Int } })
  const handle = (_: unknown, seen: Seen) =>
    Effect.gen(function* () {
      yield* Counts.fold([seen], { key: () => "all", evolve: (row) => ({ id: "all", count: (row?.count ?? 0) + 1 }) })
      yield* Positions.fold([String(seen.position)], {
        key: (id) => id,
        evolve: (row, id) => ({ id, times: (row?.times ?? 0) + 1 })
      })
      yield* onEvent(seen)
    })
  const projection = Projection.make("Counts", {
    version: 1,
    tables: [Counts, Positions],
    events: [Counted, Held],
    handlers: { Counted: handle, Held: handle }
  })
  return { Counts, Positions, projection }
}
