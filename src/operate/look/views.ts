/** Looking at the whole: the store, projections, processes, groups. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { reasonOf } from "../../following/engine.ts"
import { deadlinesCheckpoint, processName, projectionName, subscriptionCheckpoint } from "../../following/names.ts"
import * as Projection from "../../projection/Projection.ts"
import { Operator } from "../contract/authentication.ts"
import { NotFoundError } from "../contract/errors.ts"
import type { GroupRow, ProcessRow } from "../contract/followers.ts"
import type { Overview, ProjectionRow, Size, TableRow } from "../contract/views.ts"
import { byCodePoint } from "../../internal/order.ts"
import { library } from "../library.ts"
import { type AnyProjection, orUnavailable, type Parts } from "../parts.ts"
import { bytesOf, tablesOf, titleOf } from "./database.ts"
import { followersNow } from "./followers.ts"
import { drawMap } from "./map.ts"
import { makeRows } from "./rows.ts"
import { positionAt } from "./scanning.ts"

const hour = 3_600_000

/** How long ago the head is looked up. */
const ago = [hour, 24 * hour, 7 * 24 * hour, 30 * 24 * hour]

const overview = Effect.fnUntraced(function* (parts: Parts, mayAct: boolean, protocol: number) {
  const operator = yield* Operator
  const [head, bytes] = yield* orUnavailable(Effect.all([parts.store.head, bytesOf(parts)]))
  const overview: Overview = {
    store: titleOf(parts),
    head,
    bytes,
    operator: operator.name,
    mayAct: mayAct && operator.mayAct,
    payloads: operator.payloads,
    library,
    protocol
  }
  return overview
})

const size = Effect.fnUntraced(function* (parts: Parts) {
  const now = yield* Clock.currentTimeMillis
  const [head, bytes, tables] = yield* orUnavailable(Effect.all([parts.store.head, bytesOf(parts), tablesOf(parts)]))
  const growth = yield* Effect.forEach(ago, (time) => {
    const at = DateTime.makeUnsafe(now - time)
    return Effect.map(orUnavailable(positionAt(parts.store, at)), (position) => ({ at, position }))
  })
  const size: Size = { head, bytes, tables, growth }
  return size
})

const processes = (parts: Parts) =>
  Effect.succeed(
    Array.from(parts.processes.values(), ({ deadlines, events, name }): ProcessRow => ({
      name,
      category: name,
      reactsTo: events.map(({ type }) => type),
      deadlines: deadlines.map(({ type }) => type),
      follower: subscriptionCheckpoint(processName(name)),
      watch: deadlines.length === 0 ? null : deadlinesCheckpoint(name)
    }))
  )

/** The definition of a version, if the program has told of it. */
export const definitionOf = ({ projections }: Parts, name: string, version: number): AnyProjection | undefined =>
  projections.find((projection) => projection.name === name && projection.version === version)

const projectionRows = Effect.fnUntraced(function* (parts: Parts, wanted: string | undefined) {
  const [versions, { head, moments }] = yield* Effect.all([
    orUnavailable(parts.checkpoints.versions.list(wanted)),
    followersNow(parts)
  ])
  const begun = versions.map(({ active, mode, projection, target, updatedAt, version }): ProjectionRow => {
    const follower = subscriptionCheckpoint(projectionName(projection, version))
    const moment = moments.find(({ name }) => name === follower)
    const definition = definitionOf(parts, projection, version)
    const position = mode === "inline" ? head : (moment?.position ?? 0)
    return {
      projection,
      version,
      mode,
      active,
      // Once it is reached, a rebuild is over.
      target: Option.getOrNull(Option.filter(target, (to) => position < to && mode !== "inline")),
      position,
      lag: mode === "async" ? (moment?.lag ?? head) : 0,
      state: mode === "inline" ? "live" : (moment?.state ?? "stopped"),
      follower: mode === "async" ? follower : null,
      tables: definition?.tables.map(({ name }) => name) ?? [],
      registered: definition !== undefined,
      updatedAt
    }
  })
  const isBegun = ({ name, version }: AnyProjection) => begun.some((row) => row.projection === name && row.version === version)
  const absent = parts.projections
    .filter((projection) => (wanted === undefined || projection.name === wanted) && !isBegun(projection))
    .map(({ name, tables, version }): ProjectionRow => ({
      projection: name,
      version,
      mode: "absent",
      active: false,
      target: null,
      position: 0,
      lag: head,
      state: "stopped",
      follower: null,
      tables: tables.map(({ name }) => name),
      registered: true,
      updatedAt: null
    }))
  return [...begun, ...absent].toSorted((a, b) => byCodePoint(a.projection, b.projection) || a.version - b.version)
})

const tables = Effect.fnUntraced(function* (
  parts: Parts,
  { projection: wanted, version }: { readonly projection?: string; readonly version?: number }
) {
  const found = parts.projections.filter(
    (projection) =>
      (wanted === undefined || projection.name === wanted) && (version === undefined || projection.version === version)
  )
  if (found.length === 0 && wanted !== undefined) {
    return yield* new NotFoundError({
      detail: `this process knows no projection "${wanted}"${version === undefined ? "" : ` in version ${version}`}: name it where operations are provided (projections)`
    })
  }
  const counted = yield* Effect.forEach(found, (projection) =>
    Effect.map(
      Effect.provideContext(orUnavailable(Projection.rowCounts(projection)), parts.services) as Effect.Effect<
        ReadonlyArray<Projection.RowCount>,
        never
      >,
      (all) =>
        all.map(({ exact, rows, table }): TableRow => ({
          projection: projection.name,
          version: projection.version,
          table,
          rows: Option.getOrNull(rows),
          exact
        }))
    )
  )
  return counted.flat()
})

const groups = Effect.fnUntraced(function* (parts: Parts) {
  const { saying } = makeRows(parts, (yield* Operator).payloads)
  const dead: ReadonlyMap<string, number> = yield* orUnavailable(
    parts.letters?.counts ?? Effect.succeed(new Map<string, number>())
  )
  // What the broker does not tell is not known; that it does not answer is seen by the group's state.
  const waitingOf = (group: string) =>
    Effect.orElseSucceed(parts.transport?.waiting?.(group) ?? Effect.undefined, () => undefined)
  return yield* Effect.forEach((yield* parts.groups).values(), ({ members, name, status }) =>
    Effect.map(waitingOf(name), (waiting): GroupRow => {
      const { cause, inFlight, state } = SubscriptionRef.getUnsafe(status)
      return {
        group: name,
        state,
        members: members.size,
        types: Array.from(new Set(Array.from(members, ({ types }) => Array.from(types)).flat())).sort(),
        inFlight,
        waiting: waiting ?? null,
        deadLetters: dead.get(name) ?? 0,
        cause: Option.getOrNull(Option.map(cause, (cause) => saying.other(reasonOf(cause))))
      }
    })
  )
})

export const lookAtViews = (parts: Parts, mayAct: boolean, protocol: number) => ({
  Overview: () => overview(parts, mayAct, protocol),
  Size: () => size(parts),
  Processes: () => processes(parts),
  Projections: ({ projection }: { readonly projection?: string }) => projectionRows(parts, projection),
  Tables: (asked: Parameters<typeof tables>[1]) => tables(parts, asked),
  Groups: () => groups(parts),
  Map: () => drawMap(parts)
})
