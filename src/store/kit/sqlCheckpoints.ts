import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { makeTogether } from "../../internal/together.ts"
import { byCodePoint } from "../../internal/order.ts"
import { answered } from "../../sql/answering.ts"
import { isOutage, isUniqueViolation } from "../../sql/errors.ts"
import { CurrentTakings, inTransaction, shortPatience } from "../../sql/transaction.ts"
import {
  type Checkpoint,
  CheckpointError,
  CheckpointFencedError,
  CheckpointHeldError,
  Checkpoints,
  type Lease,
  type SeenEvent
} from "../lease.ts"
import type { KeptDeadline, KeptDeadlines } from "../deadlines.ts"
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
 * The statements of checkpoints in a SQL database. Parameters come in the order that is said here; those of time, which come last,
 * are the database's own affair: {@link CheckpointDialect} makes them.
 *
 * A row of a checkpoint is its name, position, epoch, owner, the milliseconds of its expiry and its last update, what was seen:
 * text that is kept as it is, or null; and 1 if it is paused and 0 if not. A row of a version is its projection, number, mode, 1 if it is active and 0 if not, target,
 * heard, revision, and the milliseconds of its last update.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface CheckpointStatements {
  /**
   * Name, owner, the position of a new name, lease. Gives epoch, position, what was seen, and 1 if it is paused or 0; nothing when another
   * holds the name. A name that was removed is not paused any more.
   */
  readonly claim: string
  /** Name, epoch, lease. Gives a row if the lease is good. */
  readonly renew: string
  /** Name, epoch, the position before and after, what was seen or null, lease. Gives a row if the lease is good and the position was that. */
  readonly advance: string
  /** Name, epoch. */
  readonly release: string
  /** Name, 1 for paused or 0. Gives a row if the name is known. */
  readonly pause: string
  /** Name. Gives the row, which nobody changes until the transaction ends. */
  readonly lock: string
  /** Name, position, now. Frees the name, supersedes its lease, and forgets what was seen. */
  readonly reset: string
  /** Name, 1 to take it from whoever holds it or 0, now. Gives a row if there was one to be forgotten. Its epoch must be kept. */
  readonly remove: string
  /** Name. */
  readonly get: string
  readonly list: string
  /** Projection, version. */
  readonly version: string
  /** Projection. */
  readonly versionsOf: string
  readonly versions: string
  /** Projection, version, mode, target, heard, now. Gives a row if there was none; it has revision 1, and is not active. */
  readonly insertVersion: string
  /** Projection, version, mode, target, heard, revision, now. Gives a row if the revision was that. */
  readonly updateVersion: string
  /** Projection, version. Gives a row if it is active, which nobody changes until the transaction ends. */
  readonly lockActive: string
  /** Projection, version, now. Gives a row if it was active. */
  readonly deactivate: string
  /**
   * Projection, version, now. Gives a row if it was not active. Where another version is active it fails with a unique violation.
   */
  readonly activate: string
  /**
   * Name, a JSON array of objects. Drops what is kept of the deadlines of a `stream` and a `type`: that with the `id`, or whatever it is
   * where `id` is null.
   */
  readonly dropDeadlines: string
  /** Name, a JSON array of objects with `stream`, `type`, `due`, `position` and `id`. Keeps deadlines where none is kept. */
  readonly keepDeadlines: string
  /**
   * Name, due and position behind which they come, the latest due, the most of them. Gives stream, type, due, position and id, by due and
   * position.
   */
  readonly dueDeadlines: string
  /** Name. Drops all that are kept. */
  readonly clearDeadlines: string
}

/**
 * A checkpoint that is to be moved, or whose lease is to be renewed.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface CheckpointMove {
  readonly name: string
  readonly epoch: number
  /** The position before, and after it; none where the lease is renewed and the checkpoint stays. */
  readonly before: number
  readonly after: number | undefined
  /** What was seen, as it is kept. */
  readonly seen: string | null
  /** How long the lease lasts from now on. */
  readonly ttl: Duration.Duration
}

/**
 * What a SQL database has of its own, beside its statements.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface CheckpointDialect {
  readonly statements: CheckpointStatements
  /** Runs a statement; rows are arrays of values. All their numbers must be numbers. */
  readonly run: (
    text: string,
    parameters: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /**
   * Moves many checkpoints in one statement, each as `advance` and `renew` do; gives the indices of those that have been moved. It waits for
   * no lock of others: what it leaves is moved by itself. Default: each is moved by itself.
   */
  readonly moveAll?: ((moves: ReadonlyArray<CheckpointMove>) => Effect.Effect<ReadonlyArray<number>, SqlError>) | undefined
  /** How long a transaction of several statements may take on PostgreSQL. Default: 30 seconds. */
  readonly timeout?: Duration.Duration | undefined
  /** How a whole number is passed: a position, an epoch, a version. */
  readonly number: (value: number) => unknown
  /** The parameters by which a statement knows until when a lease lasts that begins now. */
  readonly lease: (ttl: Duration.Duration) => Effect.Effect<ReadonlyArray<unknown>>
  /** The parameters by which a statement knows when it is. */
  readonly now: Effect.Effect<ReadonlyArray<unknown>>
}

type Query = <Row extends ReadonlyArray<unknown>>(
  operation: string,
  name: string,
  statement: keyof CheckpointStatements,
  parameters: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, CheckpointError>

type CheckpointRow = readonly [
  name: string,
  position: number,
  epoch: number,
  owner: string | null,
  expiresAt: number,
  updatedAt: number,
  seen: string | null,
  paused: 0 | 1
]

type VersionRow = readonly [
  projection: string,
  version: number,
  mode: ProjectionVersion["mode"],
  active: 0 | 1,
  target: number | null,
  heard: number,
  revision: number,
  updatedAt: number
]

/**
 * The service over checkpoints in a SQL database. Inside a transaction of the client, everything is part of that transaction.
 *
 * @category adapters
 * @since 0.2.0
 */
export const makeOnSql = (sql: SqlClient.SqlClient, dialect: CheckpointDialect): Checkpoints["Service"] => {
  const query: Query = <Row extends ReadonlyArray<unknown>>(
    operation: string,
    name: string,
    statement: keyof CheckpointStatements,
    parameters: ReadonlyArray<unknown>
  ) =>
    // Where rows get their types: each statement gives what its documentation says.
    Effect.mapError(
      dialect.run(dialect.statements[statement], parameters) as Effect.Effect<ReadonlyArray<Row>, SqlError>,
      (cause) => new CheckpointError({ operation, checkpoint: name, cause })
    )
  /** A transaction of several statements. */
  const transactionally = <A, E>(
    operation: string,
    name: string,
    work: Effect.Effect<A, E>
  ): Effect.Effect<A, E | CheckpointError> =>
    Effect.mapError(answered(sql, inTransaction(sql, work, shortPatience), dialect.timeout), (error) =>
      isSqlError(error) ? new CheckpointError({ operation, checkpoint: name, cause: error }) : (error as E)
    )
  const get: Checkpoints["Service"]["get"] = (name) =>
    Effect.map(
      Effect.flatMap(prepareName("get", name), () => query<CheckpointRow>("get", name, "get", [name])),
      ([row]) => Option.map(Option.fromUndefinedOr(row), toCheckpoint)
    )
  const noteTaking = (name: string) =>
    Effect.flatMap(CurrentTakings, (takings) =>
      takings === undefined
        ? Effect.void
        : Effect.map(get(name), (known) => void takings.set(name, Option.getOrUndefined(known)?.epoch))
    )
  const moves = makeMoves(sql, dialect, query)
  return Checkpoints.of({
    ...leasing(dialect, query, moves, get),
    get,
    list: Effect.map(query<CheckpointRow>("list", "*", "list", []), (rows) => rows.map(toCheckpoint)),
    pause: Effect.fnUntraced(function* (name, paused) {
      yield* prepareName("pause", name)
      return (yield* query("pause", name, "pause", [name, dialect.number(paused ? 1 : 0)])).length > 0
    }),
    reset: Effect.fnUntraced(function* (name, to) {
      const position = dialect.number(yield* prepareReset(name, to))
      const work = Effect.gen(function* () {
        const [before] = yield* query<CheckpointRow>("reset", name, "lock", [name])
        yield* query("reset", name, "reset", [name, position, ...(yield* dialect.now)])
        yield* query("reset", name, "clearDeadlines", [name])
        yield* noteTaking(name)
        return Option.map(Option.fromUndefinedOr(before), toCheckpoint)
      })
      return yield* transactionally("reset", name, work)
    }),
    remove: Effect.fnUntraced(function* (name, { force = false } = {}) {
      yield* prepareName("remove", name)
      const removing = Effect.gen(function* () {
        const rows = yield* query("remove", name, "remove", [name, dialect.number(force ? 1 : 0), ...(yield* dialect.now)])
        if (rows.length > 0) yield* query("remove", name, "clearDeadlines", [name])
        return rows.length > 0
      })
      while (true) {
        if (yield* transactionally("remove", name, removing)) return yield* Effect.as(noteTaking(name), true)
        const known = yield* get(name)
        if (Option.isNone(known)) return false
        const { owner } = known.value
        if (Option.isSome(owner)) return yield* new CheckpointHeldError({ checkpoint: name, owner: owner.value })
        // It has been released meanwhile.
      }
    }),
    versions: registry(dialect, query, transactionally),
    deadlines: deadlines(dialect, query, moves, transactionally),
    transactionService: sql.transactionService
  })
}

/** What is said of a position: what was seen of the log, or nulls; and 1 where all deadlines that stand there are kept. */
type Said = readonly [of: number, at: number | null, id: string | null, deadlines?: 1]

/**
 * What was seen, as it is kept: with the position that the checkpoint had then. A program of eventfold 0.1 moves the checkpoint and
 * leaves this as it was: so it says nothing any more.
 */
const seenText = (position: number, seen: SeenEvent | undefined, deadlines: boolean): string | null => {
  if (position === 0 || (seen === undefined && !deadlines)) return null
  const said = [position, seen?.position ?? null, seen?.id ?? null] as const
  return JSON.stringify((deadlines ? [...said, 1] : said) satisfies Said)
}

const seenIn = (position: number, text: string | null): Pick<Lease, "seen" | "deadlines"> => {
  if (text === null) return {}
  // Written by `seenText` alone.
  const [of, at, id, deadlines] = JSON.parse(text) as Said
  if (of !== position) return {}
  const seen = at === null || id === null ? {} : { seen: { position: at, id } }
  return deadlines === 1 ? { ...seen, deadlines: true } : seen
}

const pickSeen = ({ seen }: Pick<Lease, "seen">) => (seen === undefined ? {} : { seen })

const pausedAs = (paused: 0 | 1): Pick<Checkpoint, "paused"> => (paused === 1 ? { paused: true } : {})

const toCheckpoint = ([name, position, epoch, owner, expiresAt, updatedAt, seen, paused]: CheckpointRow): Checkpoint => ({
  name,
  position,
  ...pickSeen(seenIn(position, seen)),
  epoch,
  owner: Option.fromNullOr(owner),
  ...pausedAs(paused),
  expiresAt: DateTime.makeUnsafe(Math.round(expiresAt)),
  updatedAt: DateTime.makeUnsafe(Math.round(updatedAt))
})

const toVersion = ([projection, version, mode, active, target, heard, revision, updatedAt]: VersionRow): ProjectionVersion => ({
  projection,
  version,
  mode,
  active: active === 1,
  target: Option.fromNullOr(target),
  heard,
  revision,
  updatedAt: DateTime.makeUnsafe(Math.round(updatedAt))
})

const fenced = (name: string, epoch: number) => Effect.fail(new CheckpointFencedError({ checkpoint: name, epoch }))

/** How many checkpoints are moved in one statement at the most. */
const mostMoves = 512

/**
 * Moves checkpoints together that are to be moved at about the same time, outside of transactions. One that nobody else is moved beside
 * goes by itself, and so does what was left: it is fenced, or somebody else's transaction has locked it.
 */
const makeMove = (sql: SqlClient.SqlClient, { moveAll }: CheckpointDialect) => {
  type Alone = (move: CheckpointMove) => Effect.Effect<void, CheckpointFencedError | CheckpointError>
  type Answers = Effect.Effect<ReadonlyArray<Exit.Exit<boolean, CheckpointError>>>
  if (moveAll === undefined) return (_operation: string, move: CheckpointMove, alone: Alone) => alone(move)
  const together = makeTogether<readonly [operation: string, move: CheckpointMove], boolean, CheckpointError>({
    most: mostMoves,
    call: (asked) => {
      // Those who lock several rows take them in one order.
      const order = asked.map((_, index) => index).sort((a, b) => byCodePoint(nameAt(asked, a), nameAt(asked, b)))
      return Effect.matchEffect(moveAll(order.map((index) => (asked[index] as (typeof asked)[number])[1])), {
        onSuccess: (moved): Answers => {
          const done = new Set(moved.map((nth) => order[nth]))
          return Effect.succeed(asked.map((_, index) => Exit.succeed(done.has(index))))
        },
        onFailure: (cause): Answers => {
          if (isOutage(cause)) {
            return Effect.succeed(
              asked.map(([operation, { name }]) => Exit.fail(new CheckpointError({ operation, checkpoint: name, cause })))
            )
          }
          // Of what the database refuses only the culprit shall suffer.
          return Effect.as(
            Effect.logDebug(
              `eventfold: ${asked.length} checkpoints could not be moved together, so each is moved by itself`,
              cause
            ),
            asked.map(() => Exit.succeed(false))
          )
        }
      })
    }
  })
  let underWay = 0
  return (operation: string, move: CheckpointMove, alone: Alone) =>
    Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) => {
      if (Option.isSome(transaction)) return alone(move)
      const first = underWay++ === 0
      const moving = first
        ? alone(move)
        : Effect.flatMap(together([operation, move]), (done) => (done ? Effect.void : alone(move)))
      return Effect.ensuring(
        moving,
        Effect.sync(() => underWay--)
      )
    })
}

const nameAt = (asked: ReadonlyArray<readonly [string, CheckpointMove]>, index: number) => asked[index]?.[1].name ?? ""

/** Renews leases and moves checkpoints. Where not all deadlines are kept that stand at the position, `deadlines` is `false`. */
interface Moves {
  readonly renew: Checkpoints["Service"]["renew"]
  readonly advance: (
    before: Lease,
    to: number,
    seen: SeenEvent | undefined,
    deadlines: boolean
  ) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
}

const makeMoves = (sql: SqlClient.SqlClient, dialect: CheckpointDialect, query: Query): Moves => {
  const { lease, number } = dialect
  const move = makeMove(sql, dialect)
  const renewOne = Effect.fnUntraced(function* ({ epoch, name, ttl }: CheckpointMove) {
    const rows = yield* query("renew", name, "renew", [name, number(epoch), ...(yield* lease(ttl))])
    if (rows.length === 0) return yield* fenced(name, epoch)
  })
  const advanceOne = Effect.fnUntraced(function* ({ after = 0, before, epoch, name, seen, ttl }: CheckpointMove) {
    const values = [name, number(epoch), number(before), number(after), seen]
    const rows = yield* query("advance", name, "advance", [...values, ...(yield* lease(ttl))])
    if (rows.length === 0) return yield* fenced(name, epoch)
  })
  return {
    renew: ({ epoch, name, position, ttl }) =>
      move("renew", { name, epoch, before: position, after: undefined, seen: null, ttl }, renewOne),
    advance: Effect.fnUntraced(function* (before, to, seen, deadlines) {
      const { epoch, name, owner, position: from, ttl } = before
      const position = yield* prepareAdvance(before, to, seen)
      const said = seenText(position, seen, deadlines)
      yield* move("advance", { name, epoch, before: from, after: position, seen: said, ttl }, advanceOne)
      return { name, owner, epoch, position, ttl, ...seenAt(position, seen) }
    })
  }
}

const leasing = (
  { lease, number }: CheckpointDialect,
  query: Query,
  moves: Moves,
  get: Checkpoints["Service"]["get"]
): Pick<Checkpoints["Service"], "claim" | "renew" | "advance" | "release"> => ({
  claim: Effect.fnUntraced(function* (name, options) {
    const { from, owner, ttl } = yield* prepareClaim(name, options)
    while (true) {
      const parameters = [name, owner, number(from), ...(yield* lease(ttl))]
      type Claimed = readonly [epoch: number, position: number, seen: string | null, paused: 0 | 1]
      const [row] = yield* query<Claimed>("claim", name, "claim", parameters)
      if (row !== undefined) {
        const [epoch, position, seen, paused] = row
        return { name, owner, ttl, epoch, position, ...seenIn(position, seen), ...pausedAs(paused) }
      }
      const holder = Option.flatMap(yield* get(name), ({ owner }) => owner)
      if (Option.isSome(holder)) return yield* new CheckpointHeldError({ checkpoint: name, owner: holder.value })
      // It has been released meanwhile.
    }
  }),
  renew: moves.renew,
  advance: (before, to, seen) => moves.advance(before, to, seen, false),
  release: ({ epoch, name }) => Effect.asVoid(query("release", name, "release", [name, number(epoch)]))
})

type Transactionally = <A, E>(operation: string, name: string, work: Effect.Effect<A, E>) => Effect.Effect<A, E | CheckpointError>

const deadlines = (
  { number }: CheckpointDialect,
  query: Query,
  moves: Moves,
  transactionally: Transactionally
): KeptDeadlines => {
  type Row = readonly [stream: string, type: string, due: number, position: number, id: string]
  const toDeadline = ([stream, type, due, position, id]: Row): KeptDeadline => ({ stream, type, due, position, id })
  const write = (name: string, statement: "dropDeadlines" | "keepDeadlines", rows: ReadonlyArray<object>) =>
    Effect.forEach(Arr.chunksOf(rows, 1000), (rows) => query("advance", name, statement, [name, JSON.stringify(rows)]), {
      discard: true
    })
  return {
    advance: (lease, to, seen, changes) => {
      const { name } = lease
      const dropped = changes.flatMap(({ onlyIds = [null], stream, types }) =>
        types.flatMap((type) => onlyIds.map((id) => ({ stream, type, id })))
      )
      const kept = changes.flatMap(({ set }) => (set === undefined ? [] : [set]))
      const work = Effect.gen(function* () {
        // First, so that whoever is fenced changes nothing.
        const moved = yield* moves.advance(lease, to, seen, true)
        yield* write(name, "dropDeadlines", dropped)
        yield* write(name, "keepDeadlines", kept)
        return moved
      })
      const moving = changes.length === 0 ? moves.advance(lease, to, seen, true) : transactionally("advance", name, work)
      return Effect.map(moving, (lease): Lease => ({ ...lease, deadlines: true }))
    },
    restart: (lease) =>
      transactionally(
        "advance",
        lease.name,
        Effect.tap(moves.advance(lease, 0, undefined, true), query("advance", lease.name, "clearDeadlines", [lease.name]))
      ),
    due: (name, { after, limit, upTo }) => {
      const bounds = [number(after.due), number(after.position), number(upTo), number(limit)]
      return Effect.map(query<Row>("get", name, "dueDeadlines", [name, ...bounds]), (rows) => rows.map(toDeadline))
    }
  }
}

const registry = ({ now, number }: CheckpointDialect, query: Query, transactionally: Transactionally): ProjectionVersions => {
  const changed = (projection: string, version: number) => Effect.fail(new ProjectionVersionChangedError({ projection, version }))
  return {
    get: Effect.fnUntraced(function* (projection, version) {
      yield* prepareVersion("get", projection, version)
      const [row] = yield* query<VersionRow>("get", projection, "version", [projection, number(version)])
      return Option.map(Option.fromUndefinedOr(row), toVersion)
    }),
    list: (projection) =>
      Effect.map(
        projection === undefined
          ? query<VersionRow>("list", "*", "versions", [])
          : query<VersionRow>("list", projection, "versionsOf", [projection]),
        (rows) => rows.map(toVersion)
      ),
    put: Effect.fnUntraced(function* ({ heard, mode, projection, revision, target, version }) {
      yield* prepareVersionPut({ heard, projection, revision, target, version })
      const values = [projection, number(version), mode, Option.getOrNull(Option.map(target, number)), number(heard)]
      const rows =
        revision === 0
          ? yield* query("put", projection, "insertVersion", [...values, ...(yield* now)])
          : yield* query("put", projection, "updateVersion", [...values, number(revision), ...(yield* now)])
      if (rows.length === 0) return yield* changed(projection, version)
    }),
    activate: Effect.fnUntraced(function* (projection, version, instead) {
      yield* prepareVersion("activate", projection, version)
      if (Option.contains(instead, version)) {
        const rows = yield* query("activate", projection, "lockActive", [projection, number(version)])
        return rows.length === 0 ? yield* changed(projection, version) : undefined
      }
      const run = Effect.fnUntraced(function* (statement: "activate" | "deactivate", which: number) {
        const rows = yield* query("activate", projection, statement, [projection, number(which), ...(yield* now)])
        if (rows.length === 0) return yield* changed(projection, version)
      })
      const work = Effect.andThen(
        Option.match(instead, { onNone: () => Effect.void, onSome: (before) => run("deactivate", before) }),
        run("activate", version)
      )
      yield* Effect.catchIf(transactionally("activate", projection, work), wasFirst, () => changed(projection, version))
    })
  }
}

/** Whether somebody else was first. */
const wasFirst = (error: CheckpointError | ProjectionVersionChangedError): error is CheckpointError =>
  error._tag === "CheckpointError" && isUniqueViolation(error)
