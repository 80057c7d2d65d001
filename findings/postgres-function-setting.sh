#!/usr/bin/env bash
# Who may set a setting of his own in a session may not make a function that sets it.
#
# Software: PostgreSQL 18 as in @electric-sql/pglite 0.5.17.
# Input:    a role without privileges, in a schema of its own; a setting with a prefix, as programs use them to tell policies of row-level security
#           who asks: set in the session, and in `create function … set …`.
# Guess:    a setting that nobody has declared is anybody's: what `set` and `set_config` allow, a function may be made with.
# Seen:     `set` and `set_config` work, and `create function … set` is refused with 42501, as is `alter role … set` of the role itself: for a setting
#           that no extension has declared, and also for one that has a value in the session by then. Of a built-in setting it works, and a
#           superuser may make the function. What remains without one is to set it inside the function, and to give it back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @electric-sql/pglite@0.5.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"

const database = await PGlite.create()
await database.exec(`create role app; create schema app authorization app; set role app; set search_path = app`)
const attempt = async (name, sql) => {
  const seen = await database.query(sql).then(
    () => "yes",
    ({ code, message }) => `${code} ${message}`
  )
  console.log(`${name}: ${seen}`)
}
await attempt("set", "set app.tenant = 'a'")
await attempt("set_config", "select set_config('app.other', 'a', false)")
await attempt("create function, set in this session", "create function f() returns int language sql set app.tenant = 'a' begin atomic select 1; end")
await attempt("create function, new", "create function g() returns int language sql set app.fresh = 'a' begin atomic select 1; end")
await attempt("create function, built in", "create function h() returns int language sql set work_mem = '1MB' begin atomic select 1; end")
await attempt("alter role", "alter role app set app.tenant = 'a'")
await database.exec("reset role")
await attempt("create function, superuser", "create function app.i() returns int language sql set app.fresh = 'a' begin atomic select 1; end")
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
set: yes
set_config: yes
create function, set in this session: 42501 permission denied to set parameter "app.tenant"
create function, new: 42501 permission denied to set parameter "app.fresh"
create function, built in: yes
alter role: 42501 permission denied to set parameter "app.tenant"
create function, superuser: yes
SEEN
echo "as described"
