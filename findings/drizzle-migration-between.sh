#!/usr/bin/env bash
# Drizzle never runs a migration that is older than the newest one which has run, and says nothing.
#
# Software: drizzle-orm 0.45.4, its migrator for PGlite (0.5.17).
# Input:    two migrations are run; then a third is merged from a branch, generated on a day between the two; then a fourth.
# Guess:    the one that has not run is run, or there is an error. The table of the migrator has a row with a digest for each that has run.
# Seen:     it is left out, now and at each later time. Of the table only the newest time is looked at: what is older counts as run, though there
#           is no row for it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 drizzle-orm@0.45.4 @electric-sql/pglite@0.5.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"
import { drizzle } from "drizzle-orm/pglite"
import { migrate } from "drizzle-orm/pglite/migrator"
import { mkdirSync, writeFileSync } from "node:fs"

const days = { orders: "2026-03-02", invoices: "2026-03-04", customers: "2026-03-06", payments: "2026-03-08" }
const folder = (...tags) => {
  mkdirSync("migrations/meta", { recursive: true })
  const entries = tags.map((tag, idx) => ({ idx, version: "7", when: Date.parse(days[tag]), tag, breakpoints: true }))
  writeFileSync("migrations/meta/_journal.json", JSON.stringify({ version: "7", dialect: "postgresql", entries }))
  for (const tag of tags) writeFileSync(`migrations/${tag}.sql`, `create table ${tag} (id bigint primary key);`)
}
const client = new PGlite()
const database = drizzle(client)
const migrated = async (...tags) => {
  folder(...tags)
  await migrate(database, { migrationsFolder: "migrations" })
  const { rows: tables } = await client.query("select tablename as name from pg_tables where schemaname = 'public' order by 1")
  const { rows: [{ runs }] } = await client.query("select count(*) as runs from drizzle.__drizzle_migrations")
  console.log(`migrations: ${tags.join(" ")} | run: ${runs} | tables: ${tables.map(({ name }) => name).join(" ")}`)
}
await migrated("orders", "customers")
await migrated("orders", "invoices", "customers")
await migrated("orders", "invoices", "customers", "payments")
await client.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
migrations: orders customers | run: 2 | tables: customers orders
migrations: orders invoices customers | run: 2 | tables: customers orders
migrations: orders invoices customers payments | run: 3 | tables: customers orders payments
SEEN
echo "as described"
