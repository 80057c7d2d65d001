import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { byCodePoint } from "../../internal/order.ts"
import {
  type Checkpoint,
  CheckpointError,
  CheckpointFencedError,
  CheckpointHeldError,
  Checkpoints,
  type Lease
} from "../lease.ts"
import { type ProjectionVersion, ProjectionVersionChangedError, type ProjectionVersions } from "../versions.ts"
import {
  prepareAdvance,
  prepareClaim,
  prepareName,
  prepareReset,
  prepareVersion,
  prepareVersionPut,
  seenAt
} from "./checkpoints.ts"

/**
 * All that a storage of checkpoints keeps.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface KeptCheckpoints {
  /** By name, in code point order. */
  readonly checkpoints: ReadonlyArray<Checkpoint>
  /** By projection, in code point order, then by number. */
  readonly versions: ReadonlyArray<ProjectionVersion>
}

/** What stands in memory, by key. */
interface State {
  readonly rows: Map<string, Checkpoint>
  /** The epochs of names that have been removed: a lease from before stays fenced. */
  readonly removed: Map<string, number>
  readonly versions: Map<string, ProjectionVersion>
  /** Who is there to keep a lease, by name. */
  readonly keepers: Map<string, Keeper>
}

/** Keeps a lease for as long as its owner lives. */
interface Keeper {
  readonly lease: Lease
  readonly lost: Deferred.Deferred<never, CheckpointFencedError>
}

/** What an operation gives, and what it writes: nothing, where it says nothing of it. */
interface Change<A> {
  readonly value: A
  readonly row?: Checkpoint
  readonly removed?: Checkpoint
  readonly versions?: ReadonlyArray<ProjectionVersion>
}

/** Carries out one operation at a time. */
type Apply = <A, E>(
  operation: string,
  name: string,
  decide: (state: Readonly<State>, now: number) => Effect.Effect<Change<A>, E>
) => Effect.Effect<A, E | CheckpointError>

/**
 * The service over checkpoints in memory, as they are in `Checkpoints.layerMemory`; for a storage of one process that keeps them
 * elsewhere as well, such as a file. Leases run by the fiber's `Clock`.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeInMemory = (options?: {
  /** What was kept before. Default: nothing. */
  readonly initial?: KeptCheckpoints | undefined
  /**
   * Keeps everything as it shall be; a change takes effect when this has succeeded. Called for one change at a time, and not for
   * renewals. Never interrupted. Default: in memory alone.
   */
  readonly keep?: ((all: KeptCheckpoints) => Effect.Effect<void, unknown>) | undefined
}): Checkpoints["Service"] => {
  const state: State = {
    rows: new Map(options?.initial?.checkpoints.map((checkpoint) => [checkpoint.name, checkpoint])),
    removed: new Map(),
    versions: new Map(options?.initial?.versions.map((version) => [keyOf(version.projection, version.version), version])),
    keepers: new Map()
  }
  const turn = Semaphore.makeUnsafe(1)
  const apply: Apply = (operation, name, decide) =>
    turn.withPermit(
      Effect.uninterruptible(
        Effect.gen(function* () {
          const change = yield* decide(state, yield* Clock.currentTimeMillis)
          const writes = (change.row ?? change.removed ?? change.versions) !== undefined
          if (options?.keep !== undefined && writes && operation !== "renew") {
            const next = { rows: new Map(state.rows), removed: new Map(state.removed), versions: new Map(state.versions) }
            write(next, change)
            yield* Effect.mapError(
              options.keep(kept(next)),
              (cause) => new CheckpointError({ operation, checkpoint: name, cause })
            )
          }
          write(state, change)
          dismiss(state, change)
          return change.value
        })
      )
    )
  return Checkpoints.of({
    ...leasing(apply),
    ...removing(apply),
    keep: keeping(apply, state),
    get: Effect.fnUntraced(function* (name) {
      yield* prepareName("get", name)
      const now = yield* Clock.currentTimeMillis
      return Option.map(Option.fromUndefinedOr(state.rows.get(name)), (row) => shown(state, row, now))
    }),
    list: Effect.map(Clock.currentTimeMillis, (now) => kept(state).checkpoints.map((row) => shown(state, row, now))),
    versions: registry(apply, state)
  })
}

const keyOf = (projection: string, version: number) => `${version} ${projection}`

const kept = ({ rows, versions }: Pick<State, "rows" | "versions">): KeptCheckpoints => ({
  checkpoints: Array.from(rows.values()).sort((a, b) => byCodePoint(a.name, b.name)),
  versions: Array.from(versions.values()).sort((a, b) => byCodePoint(a.projection, b.projection) || a.version - b.version)
})

const write = ({ removed, rows, versions }: Omit<State, "keepers">, change: Change<unknown>): void => {
  if (change.row !== undefined) rows.set(change.row.name, change.row)
  if (change.removed !== undefined) {
    rows.delete(change.removed.name)
    removed.set(change.removed.name, change.removed.epoch)
  }
  for (const version of change.versions ?? []) versions.set(keyOf(version.projection, version.version), version)
}

/** Tells the keeper of a lease when the change has superseded it. */
const dismiss = ({ keepers }: State, { removed, row }: Change<unknown>): void => {
  const name = (row ?? removed)?.name
  const keeper = name === undefined ? undefined : keepers.get(name)
  if (keeper === undefined || (row?.epoch === keeper.lease.epoch && Option.isSome(row.owner))) return
  const { epoch, name: checkpoint } = keeper.lease
  keepers.delete(checkpoint)
  Deferred.doneUnsafe(keeper.lost, Effect.fail(new CheckpointFencedError({ checkpoint, epoch })))
}

/** A lease that is kept lasts for its whole time from now, whenever that is asked. */
const shown = ({ keepers }: Readonly<State>, row: Checkpoint, now: number): Checkpoint => {
  const keeper = keepers.get(row.name)
  return keeper === undefined ? row : { ...row, expiresAt: expiry(now, keeper.lease.ttl) }
}

/** A name that was removed begins with an epoch that no lease of it has had. */
const nextEpoch = ({ removed, rows }: Readonly<State>, name: string): number =>
  1 + (rows.get(name)?.epoch ?? removed.get(name) ?? 0)

const expiry = (now: number, ttl: Duration.Duration) => DateTime.makeUnsafe(now + Duration.toMillis(ttl))

/** Who holds a name: nobody, when its lease has run out. */
const holderOf = (state: Readonly<State>, row: Checkpoint | undefined, now: number): string | undefined =>
  row !== undefined && DateTime.toEpochMillis(shown(state, row, now).expiresAt) > now
    ? Option.getOrUndefined(row.owner)
    : undefined

/** What the holder of a lease makes of its row, as long as the lease has not been superseded. */
const heldRow = ({ rows }: Readonly<State>, { epoch, name }: Lease, change: (row: Checkpoint) => Checkpoint | undefined) => {
  const before = rows.get(name)
  const row = before?.epoch === epoch && Option.isSome(before.owner) ? change(before) : undefined
  return row === undefined
    ? Effect.fail(new CheckpointFencedError({ checkpoint: name, epoch }))
    : Effect.succeed<Change<void>>({ value: undefined, row })
}

const renewed = (state: Readonly<State>, lease: Lease, now: number) =>
  heldRow(state, lease, (row) => ({ ...row, expiresAt: expiry(now, lease.ttl) }))

const keeping =
  (apply: Apply, { keepers }: State): Required<Checkpoints["Service"]>["keep"] =>
  (lease) =>
    Effect.suspend(() => {
      const { name } = lease
      const keeper: Keeper = { lease, lost: Deferred.makeUnsafe() }
      return Effect.acquireUseRelease(
        apply("renew", name, (state, now) =>
          Effect.tap(renewed(state, lease, now), () => Effect.sync(() => keepers.set(name, keeper)))
        ),
        () => Deferred.await(keeper.lost),
        () =>
          apply("renew", name, (state, now) => {
            if (keepers.get(name) === keeper) keepers.delete(name)
            return renewed(state, lease, now)
          }).pipe(Effect.ignore)
      )
    })

const leasing = (apply: Apply): Pick<Checkpoints["Service"], "claim" | "renew" | "advance" | "release"> => ({
  claim: Effect.fnUntraced(function* (name, options) {
    const { from, owner, ttl } = yield* prepareClaim(name, options)
    return yield* apply("claim", name, (state, now): Effect.Effect<Change<Lease>, CheckpointHeldError> => {
      const before = state.rows.get(name)
      const holder = holderOf(state, before, now)
      if (holder !== undefined && holder !== owner)
        return Effect.fail(new CheckpointHeldError({ checkpoint: name, owner: holder }))
      const position = before?.position ?? from
      const at = { name, position, epoch: nextEpoch(state, name), ...seenAt(position, before?.seen) }
      const paused = pausedAs(before)
      const times = { expiresAt: expiry(now, ttl), updatedAt: DateTime.makeUnsafe(now) }
      return Effect.succeed({
        value: { ...at, ...paused, owner, ttl },
        row: { ...at, ...paused, owner: Option.some(owner), ...times }
      })
    })
  }),
  renew: (lease) => apply("renew", lease.name, (state, now) => renewed(state, lease, now)),
  advance: Effect.fnUntraced(function* (before, to, seen) {
    const position = yield* prepareAdvance(before, to, seen)
    const { seen: _, ...lease } = before
    const at = { position, ...seenAt(position, seen) }
    yield* apply("advance", lease.name, (state, now) =>
      heldRow(state, lease, (row) => {
        if (row.position !== lease.position) return undefined
        const { seen: _, ...rest } = row
        return { ...rest, ...at, expiresAt: expiry(now, lease.ttl), updatedAt: DateTime.makeUnsafe(now) }
      })
    )
    return { ...lease, ...at }
  }),
  release: (lease) =>
    Effect.catchTag(
      apply("release", lease.name, (state) => heldRow(state, lease, (row) => ({ ...row, owner: Option.none() }))),
      "CheckpointFencedError",
      () => Effect.void
    )
})

const pausedAs = (row: Checkpoint | undefined): Pick<Checkpoint, "paused"> => (row?.paused === true ? { paused: true } : {})

const removing = (apply: Apply): Pick<Checkpoints["Service"], "pause" | "reset" | "remove"> => ({
  pause: Effect.fnUntraced(function* (name, paused) {
    yield* prepareName("pause", name)
    return yield* apply("pause", name, (state): Effect.Effect<Change<boolean>> => {
      const before = state.rows.get(name)
      if (before === undefined) return Effect.succeed({ value: false })
      const { paused: _, ...row } = before
      return Effect.succeed({ value: true, row: paused ? { ...row, paused } : row })
    })
  }),
  reset: Effect.fnUntraced(function* (name, to) {
    const position = yield* prepareReset(name, to)
    return yield* apply("reset", name, (state, now) => {
      const at = DateTime.makeUnsafe(now)
      const before = state.rows.get(name)
      const epoch = nextEpoch(state, name)
      const row = { name, position, epoch, ...pausedAs(before), owner: Option.none(), expiresAt: at, updatedAt: at }
      return Effect.succeed({ value: Option.fromUndefinedOr(before), row })
    })
  }),
  remove: Effect.fnUntraced(function* (name, { force = false } = {}) {
    yield* prepareName("remove", name)
    return yield* apply("remove", name, (state, now): Effect.Effect<Change<boolean>, CheckpointHeldError> => {
      const row = state.rows.get(name)
      if (row === undefined) return Effect.succeed({ value: false })
      const owner = holderOf(state, row, now)
      if (owner !== undefined && !force) return Effect.fail(new CheckpointHeldError({ checkpoint: name, owner }))
      return Effect.succeed({ value: true, removed: row })
    })
  })
})

const registry = (apply: Apply, state: Readonly<State>): ProjectionVersions => {
  const of = (projection: string) => kept(state).versions.filter((version) => version.projection === projection)
  const find = (projection: string, version: number) => state.versions.get(keyOf(projection, version))
  const changed = (projection: string, version: number) => Effect.fail(new ProjectionVersionChangedError({ projection, version }))
  const write = (now: number, ...rows: ReadonlyArray<Omit<ProjectionVersion, "updatedAt">>) =>
    Effect.succeed<Change<void>>({
      value: undefined,
      versions: rows.map((row) => ({ ...row, revision: row.revision + 1, updatedAt: DateTime.makeUnsafe(now) }))
    })
  return {
    get: (projection, version) =>
      Effect.map(prepareVersion("get", projection, version), () => Option.fromUndefinedOr(find(projection, version))),
    list: (projection) => Effect.sync(() => (projection === undefined ? kept(state).versions : of(projection))),
    put: Effect.fnUntraced(function* ({ heard, mode, projection, revision, target, version }) {
      yield* prepareVersionPut({ heard, projection, revision, target, version })
      yield* apply("put", projection, (_, now) => {
        const before = find(projection, version)
        if ((before?.revision ?? 0) !== revision) return changed(projection, version)
        const active = before?.active === true && mode !== "dropped"
        return write(now, { projection, version, mode, active, target, heard, revision })
      })
    }),
    activate: Effect.fnUntraced(function* (projection, version, instead) {
      yield* prepareVersion("activate", projection, version)
      yield* apply("activate", projection, (_, now) => {
        const active = of(projection).find(({ active }) => active)
        if (active?.version !== Option.getOrUndefined(instead)) return changed(projection, version)
        if (active?.version === version) return Effect.succeed<Change<void>>({ value: undefined })
        const { heard, mode, revision, target } = find(projection, version) ?? unwritten
        const next = { projection, version, active: true, target, heard, revision } as const
        return write(now, ...(active === undefined ? [] : [{ ...active, active: false }]), {
          ...next,
          mode: mode === "dropped" ? "async" : mode
        })
      })
    })
  }
}

/** What a version is before anybody writes it. */
const unwritten: Pick<ProjectionVersion, "heard" | "mode" | "revision" | "target"> = {
  mode: "async",
  target: Option.none(),
  heard: 0,
  revision: 0
}
