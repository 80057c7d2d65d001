/** How events are removed, and how the hash chain is kept and read. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { createHash } from "node:crypto"
import type { ChainLink } from "../store/EventStore.ts"
import {
  type MaintenanceDriver,
  keptDigest,
  linkText,
  type Removal,
  stillClosed,
  storedEvent,
  type Write
} from "../store/kit/index.ts"
import { type Database, failAs, rowsOf, rowsOn } from "./database.ts"
import { type EventRow, parseTags, type Sql } from "./sql.ts"
import { plainNumbers } from "./tables.ts"

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

const digestOf = (row: EventRow): string =>
  keptDigest(
    {
      ...row,
      schemaVersion: row.schema_version,
      published: row.published === 1,
      tags: parseTags(row.tags),
      recordedAt: row.recorded_at
    },
    sha256
  )

/**
 * Adds the link of what is written behind `head`. What stands between the newest link and that, because a program of an earlier release wrote
 * it, belongs to the link as well.
 */
export const addLink = Effect.fnUntraced(function* (
  sql: Sql,
  connection: Connection,
  head: number,
  writes: ReadonlyArray<Write>
): Effect.fn.Return<void, SqlError> {
  const [before] = yield* rowsOn<ChainLink>(connection, sql.linkBefore, [head])
  const after = before?.position ?? head
  const missed = after === head ? [] : yield* rowsOn<EventRow>(connection, sql.between, [after, head])
  const digests = [...missed.map(digestOf), ...writes.map((write) => keptDigest(storedEvent(write), sha256))]
  yield* rowsOn(connection, sql.insertLink, [after, head + writes.length, sha256(linkText(before?.digest, digests))])
})

/** Whether the store keeps a chain: it was asked to, now or before. */
export const isChained = (database: Database) =>
  Effect.map(rowsOf<ChainLink>(database, "open", database.sql.links, [0, 1]), (rows) => rows.length > 0)

const remove = Effect.fnUntraced(function* (
  database: Database,
  removals: ReadonlyArray<Removal>,
  closed: ReadonlyMap<string, number>
): Effect.fn.Return<number, SqlError> {
  const { client, sql } = database
  const run = <Row extends object>(text: string, params: ReadonlyArray<string | number>) =>
    client.unsafe<Row>(text, params).withoutTransform
  const versions = new Map<string, number>()
  for (const stream of closed.keys()) {
    const [newest] = yield* run<{ readonly version: number }>(sql.newestVersion, [stream])
    versions.set(stream, newest?.version ?? 0)
  }
  let changed = 0
  for (const { id, payload, position } of stillClosed(removals, closed, (stream) => versions.get(stream) ?? 0)) {
    const [row] = yield* run<{ readonly tags: string }>(sql.tagsOf, [position])
    const done = yield* run(sql.tombstone, [payload, position, id])
    if (done.length === 0 || row === undefined) continue
    changed++
    if (row.tags !== "[]") yield* run(sql.untag, [position, row.tags])
  }
  return changed
})

export const makeMaintenance = (database: Database): MaintenanceDriver => {
  const { client, sql } = database
  const quietly = (text: string) => Effect.ignore(client.unsafe(text))
  return {
    tombstone: (removals, { closed }) =>
      failAs(
        "tombstone",
        Effect.andThen(client.unsafe(sql.overwriting), client.withTransaction(remove(database, removals, closed)))
      ).pipe(
        Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE"),
        plainNumbers,
        // The log of writes has what was there before, until it is taken into the file; a reader may keep it from that for a while.
        Effect.tap(() => quietly(sql.checkpointed))
      ),
    newestTombstone: Effect.suspend(() =>
      Effect.map(
        rowsOf<{ readonly position: number }>(database, "tombstone", sql.newestTombstone, []),
        ([row]) => row?.position ?? 0
      )
    ),
    links: (after, size) => rowsOf<ChainLink>(database, "links", sql.links, [after, size]),
    linkBefore: (upTo) => Effect.map(rowsOf<ChainLink>(database, "links", sql.linkBefore, [upTo]), ([link]) => link)
  }
}
