/** Looking at what is kept beside the log: what is parked, dead letters, deadlines, snapshots, leases. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { deadlinesCheckpoint, parseCheckpoint } from "../../following/names.ts"
import type { KeptDeadline } from "../../store/Checkpoints.ts"
import { Operator } from "../contract/authentication.ts"
import { NotRegisteredError, type UnavailableError } from "../contract/errors.ts"
import type { DeadLetterRow, DeadlineRow, LeaseRow, ParkedRow } from "../contract/followers.ts"
import type { SnapshotRow } from "../contract/views.ts"
import { orUnavailable, type Parts } from "../parts.ts"
import { parkedUnder } from "./followers.ts"
import { type Asking, limitOf, pageOf, placeIn } from "./paging.ts"
import { hiddenValues, shownAs } from "./payloads.ts"
import { makeRows } from "./rows.ts"

interface Paged {
  readonly after?: string
  readonly limit?: number
}

/** A service that operations were not provided with. */
const absent = (service: string) =>
  new NotRegisteredError({ detail: `operations see no ${service}: provide the program's own where they are provided` })

const parked = Effect.fnUntraced(function* (
  parts: Parts,
  { after, follower, limit: asked }: Paged & { readonly follower?: string }
) {
  const { parking, store } = parts
  if (parking === undefined) return yield* absent("ParkedEvents")
  const asking: Asking = { operation: "Parked", arguments: { follower } }
  const limit = yield* limitOf(asked)
  const [subscription, position] = (yield* placeIn(asking, after)) ?? []
  const head = yield* orUnavailable(store.head)
  const behind = typeof position === "number" ? position : 0
  // By the name that a follower has here, or the one that it parks under.
  const rows = yield* orUnavailable(
    follower === undefined
      ? parking.listAll({
          limit: limit + 1,
          after: typeof subscription === "string" ? { subscription, position: behind } : undefined
        })
      : parking.list(parkedUnder(follower), { after: behind, limit: limit + 1 })
  )
  const page = pageOf(
    asking,
    rows,
    limit,
    head,
    ({ position, subscription }) => [subscription, position],
    ({ subscription, ...row }): ParkedRow => ({ follower: subscription, ...row })
  )
  const { saying } = makeRows(parts, (yield* Operator).payloads)
  const items = yield* Effect.forEach(
    page.items,
    (row) => Effect.map(saying.about(row.cause, row.position), (cause) => ({ ...row, cause })),
    { concurrency: 8 }
  )
  return { ...page, items }
})

const deadLetters = Effect.fnUntraced(function* (
  parts: Parts,
  { after, group, limit: asked }: Paged & { readonly group?: string }
) {
  const { letters, store } = parts
  if (letters === undefined) return yield* absent("DeadLetters")
  const { payloads } = yield* Operator
  const { saying } = makeRows(parts, payloads)
  const asking: Asking = { operation: "DeadLetters", arguments: { group } }
  const limit = yield* limitOf(asked)
  const [of, id] = (yield* placeIn(asking, after)) ?? []
  const head = yield* orUnavailable(store.head)
  const place = typeof of === "string" && typeof id === "string" ? { group: of, id } : undefined
  const rows = yield* orUnavailable(
    group === undefined
      ? letters.listAll({ after: place, limit: limit + 1 })
      : letters.list(group, { after: place?.id, limit: limit + 1 })
  )
  return pageOf(
    asking,
    rows,
    limit,
    head,
    ({ group, id, message }) => [group, id ?? message.id],
    ({ attempts, cause, group, id, message, parkedAt }): DeadLetterRow => ({
      group,
      id: id ?? message.id,
      source: message.source,
      type: message.type,
      subject: message.subject ?? null,
      cause: saying.other(cause, hiddenValues(message.data ?? null, [])),
      attempts,
      parkedAt,
      payload: shownAs(payloads, message.data ?? null, [], false)
    })
  )
})

const byDue = (a: DeadlineRow, b: DeadlineRow) => a.due.epochMilliseconds - b.due.epochMilliseconds || a.position - b.position

/** Where a list of deadlines begins: before all of them. */
const first = { due: -8.64e15, position: 0 }

const deadlinesOf = (
  parts: Parts,
  process: string,
  upTo: number,
  after: Pick<KeptDeadline, "due" | "position"> | undefined,
  limit: number
): Effect.Effect<ReadonlyArray<DeadlineRow>, UnavailableError> =>
  Effect.gen(function* () {
    const checkpoint = deadlinesCheckpoint(process)
    const here = (yield* parts.followers).get(checkpoint)
    const kept = parts.checkpoints.deadlines
    const rows = yield* orUnavailable(
      here?.part === "deadlines" && !here.isStopped()
        ? here.due(upTo, after === undefined ? undefined : { stream: "", type: "", id: "", ...after })
        : (kept?.due(checkpoint, { upTo, after: after ?? first, limit }) ?? Effect.succeed([]))
    )
    return rows
      .slice(0, limit)
      .map(({ due, position, stream, type }): DeadlineRow => ({ process, stream, type, due: DateTime.makeUnsafe(due), position }))
  })

const deadlines = Effect.fnUntraced(function* (
  parts: Parts,
  { after, dueBefore, limit: asked, process }: Paged & { readonly process?: string; readonly dueBefore?: DateTime.Utc }
) {
  const asking: Asking = { operation: "Deadlines", arguments: { dueBefore, process } }
  const limit = yield* limitOf(asked)
  const [due, position] = (yield* placeIn(asking, after)) ?? []
  const place = typeof due === "number" && typeof position === "number" ? { due, position } : undefined
  const head = yield* orUnavailable(parts.store.head)
  const names = new Set(parts.processes.keys())
  for (const name of (yield* parts.followers).keys()) addProcess(names, name)
  for (const { name } of yield* orUnavailable(parts.checkpoints.list)) addProcess(names, name)
  const wanted = Array.from(names).filter((name) => process === undefined || name === process)
  const upTo = dueBefore?.epochMilliseconds ?? 8.64e15
  const all = yield* Effect.forEach(wanted, (name) => deadlinesOf(parts, name, upTo, place, limit + 1))
  return pageOf(
    asking,
    all.flat().sort(byDue),
    limit,
    head,
    ({ due, position }) => [due.epochMilliseconds, position],
    (row) => row
  )
})

const addProcess = (names: Set<string>, checkpoint: string) => {
  const parsed = parseCheckpoint(checkpoint)
  if (parsed._tag === "Deadlines") names.add(parsed.process)
}

const snapshots = Effect.fnUntraced(function* (
  { snapshots, store }: Parts,
  { after, limit: asked, stream }: Paged & { readonly stream?: string }
) {
  if (snapshots === undefined) return yield* absent("Snapshots")
  const asking: Asking = { operation: "Snapshots", arguments: { stream } }
  const limit = yield* limitOf(asked)
  const [of, fingerprint] = (yield* placeIn(asking, after)) ?? []
  const place = typeof of === "string" && typeof fingerprint === "string" ? { stream: of, fingerprint } : undefined
  const head = yield* orUnavailable(store.head)
  const rows = yield* orUnavailable(snapshots.list({ stream, after: place, limit: limit + 1 }))
  return pageOf(
    asking,
    rows,
    limit,
    head,
    ({ fingerprint, stream }) => [stream, fingerprint],
    ({ fingerprint, savedAt, size, stream, version }): SnapshotRow => ({ stream, fingerprint, version, savedAt, bytes: size })
  )
})

const countBefore = (names: ReadonlyArray<string>, place: string): number => {
  const next = names.findIndex((name) => name > place)
  return next === -1 ? names.length : next
}

const leases = Effect.fnUntraced(function* (
  { checkpoints, store }: Parts,
  { after, limit: asked, prefix = "" }: Paged & { readonly prefix?: string }
) {
  const asking: Asking = { operation: "Leases", arguments: { prefix } }
  const limit = yield* limitOf(asked)
  const [place] = (yield* placeIn(asking, after)) ?? []
  const [all, head, now] = yield* orUnavailable(Effect.all([checkpoints.list, store.head, Clock.currentTimeMillis]))
  const names = all.map(({ name }) => name)
  // One that has gone since has left its place.
  const at = typeof place === "string" ? names.indexOf(place) : -1
  const from = at >= 0 || typeof place !== "string" ? at + 1 : countBefore(names, place)
  const rows = all.slice(from).filter(({ name }) => name.startsWith(prefix))
  return pageOf(
    asking,
    rows.slice(0, limit + 1),
    limit,
    head,
    ({ name }) => [name],
    ({ epoch, expiresAt, name, owner, position, updatedAt }): LeaseRow => ({
      name,
      owner: Option.getOrNull(owner),
      epoch,
      position,
      expiresAt,
      held: Option.isSome(owner) && expiresAt.epochMilliseconds > now,
      updatedAt
    })
  )
})

export const lookAtKept = (parts: Parts) => ({
  Parked: (asked: Parameters<typeof parked>[1]) => parked(parts, asked),
  DeadLetters: (asked: Parameters<typeof deadLetters>[1]) => deadLetters(parts, asked),
  Deadlines: (asked: Parameters<typeof deadlines>[1]) => deadlines(parts, asked),
  Snapshots: (asked: Parameters<typeof snapshots>[1]) => snapshots(parts, asked),
  Leases: (asked: Parameters<typeof leases>[1]) => leases(parts, asked)
})
