/** The record of what operators did: a stream of the log. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../definitions/Event.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { Act, type AskedRow } from "../contract/acts.ts"
import { Operator } from "../contract/authentication.ts"
import type { Payloads } from "../contract/events.ts"
import { type Asking, cursorOf, limitOf, placeIn } from "../look/paging.ts"
import { makeRows } from "../look/rows.ts"
import { unsaid } from "../look/saying.ts"
import { orUnavailable, type Parts, unavailable } from "../parts.ts"
import type { Requests, Standing } from "./requests.ts"

/** The stream that they stand in. */
const operations = "$operations"

/** An operator has done something, or was refused. Part of the storage format. */
const OperatorActed = Event.make("$OperatorActed", {
  id: Schema.String,
  act: Act,
  by: Schema.String,
  reason: Schema.NullOr(Schema.String),
  owner: Schema.String,
  state: Schema.Literals(["done", "refused"]),
  outcome: Schema.String
})

/** What is recorded of an act. */
export type Recorded = typeof OperatorActed.Type

/** By it the record of an act is found: an act is recorded once, whoever tries. */
const eventId = (id: string) => `$operation-${id}`

/** Records what came of an act. */
export const record = (
  { store }: Parts,
  { act, by, id, reason }: Standing,
  owner: string,
  end: { readonly state: "done" | "refused"; readonly outcome: string }
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const acted = OperatorActed.make({ id, act, by, reason: reason ?? null, owner, ...end })
    const encoded = yield* Effect.fromResult(Event.encode(OperatorActed, acted))
    yield* store.append(operations, [{ ...encoded, id: eventId(id), metadata: { by } }])
  })

const read = (event: RecordedEvent): Recorded | undefined =>
  event.type === OperatorActed.type ? Result.getOrUndefined(Event.decode(OperatorActed, event)) : undefined

/** What is recorded of an act; none where it has not come to its end. */
export const recordOf = ({ store }: Parts, id: string): Effect.Effect<Recorded | undefined, EventStoreError> =>
  Effect.map(store.find(eventId(id)), (found) => Option.getOrUndefined(Option.map(found, read)))

/** Why an act was refused, as an operator may see it: what a handler says may quote what it was given. */
export const refusalToldTo = (parts: Parts, payloads: Payloads, act: Act, outcome: string): Effect.Effect<string> => {
  const { saying } = makeRows(parts, payloads)
  if (act._tag === "Retry") return saying.about(outcome, act.position)
  // The letter may be gone by now.
  return Effect.succeed(act._tag === "RetryLetter" && payloads !== "shown" ? unsaid : outcome)
}

const recordedRow = (event: RecordedEvent): AskedRow | undefined => {
  const recorded = read(event)
  if (recorded === undefined) return undefined
  const { act, by, id, outcome, owner, reason, state } = recorded
  return { id, act, by, reason, at: event.recordedAt, state, owner, progress: null, outcome }
}

const openRow = ({ act, askedAt, by, id, isSilent, owner, progress, reason }: Standing): AskedRow => ({
  id,
  act,
  by,
  reason: reason ?? null,
  at: DateTime.makeUnsafe(askedAt),
  state: owner === undefined ? "waiting" : isSilent ? "silent" : "under-way",
  owner: owner ?? null,
  progress: progress ?? null,
  outcome: null
})

/** What operators have asked for: first what is not done, then what is recorded, the newest first. */
export const asked = Effect.fnUntraced(function* (
  parts: Parts,
  requests: Requests<unknown> | undefined,
  { after, limit }: { readonly after?: string; readonly limit?: number }
) {
  const asking: Asking = { operation: "Asked", arguments: {} }
  const most = yield* limitOf(limit)
  const [place] = (yield* placeIn(asking, after)) ?? []
  const head = yield* orUnavailable(parts.store.head)
  const open =
    place === undefined && requests !== undefined
      ? (yield* Effect.mapError(requests.current, unavailable)).filter(
          ({ end, isLate, owner }) => end === undefined && (owner !== undefined || !isLate)
        )
      : []
  const to = typeof place === "number" ? place : Number.MAX_SAFE_INTEGER
  const events = yield* orUnavailable(Stream.runCollect(parts.store.read(operations, { direction: "backward", to, limit: most })))
  const last = events.at(-1)?.version ?? 1
  const { payloads } = yield* Operator
  const recorded = events.map(recordedRow).filter((row) => row !== undefined)
  const told = yield* Effect.forEach(recorded, (row) =>
    row.outcome === null || row.state !== "refused"
      ? Effect.succeed(row)
      : Effect.map(refusalToldTo(parts, payloads, row.act, row.outcome), (outcome) => ({ ...row, outcome }))
  )
  return {
    items: [...open.map(openRow), ...told],
    next: last > 1 ? cursorOf(asking, [last - 1]) : null,
    head,
    read: null
  }
})
