#!/usr/bin/env bash
# PGlite runs a database that is kept in a folder with fsync off.
#
# Software: @electric-sql/pglite 0.5.17 (PostgreSQL 18), on Node's file system.
# Input:    a database in a folder, made and opened with the defaults.
# Guess:    what PostgreSQL does by itself: a commit that has been acknowledged is on the disk.
# Seen:     its start parameters hold -F, so fsync is off, while synchronous_commit says on. A statement cannot turn fsync on. With
#           start parameters that leave -F out it is on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @electric-sql/pglite@0.5.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"

const settings = async (name, options) => {
  const database = await PGlite.create({ dataDir: "./data", ...options })
  for (const setting of ["fsync", "synchronous_commit"]) {
    const { rows } = await database.query(`show ${setting}`)
    console.log(`${name}: ${setting} = ${rows[0][setting]}`)
  }
  const refused = await database.query("set fsync = on").then(
    () => "accepted",
    ({ message }) => message
  )
  console.log(`${name}: set fsync = on: ${refused}`)
  await database.close()
}

await settings("default")
await settings("without -F", { startParams: PGlite.defaultStartParams.filter((parameter) => parameter !== "-F") })
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
default: fsync = off
default: synchronous_commit = on
default: set fsync = on: parameter "fsync" cannot be changed now
without -F: fsync = on
without -F: synchronous_commit = on
without -F: set fsync = on: parameter "fsync" cannot be changed now
SEEN
echo "as described"
