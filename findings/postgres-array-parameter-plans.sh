#!/usr/bin/env bash
# A prepared statement that looks up the elements of an array parameter is planned anew each time that it is executed, for ever.
#
# Software: PostgreSQL 18 as in @electric-sql/pglite 0.5.17.
# Input:    a table of 10 000 rows with a primary key, analysed; a prepared statement that joins `unnest($1::int[])` with it, executed 50 times with an
#           array of one element each; the same with `unnest((select $1::int[]))`.
# Guess:    after five executions the plan is made for any value and kept, as nothing in it depends on the value.
# Seen:     no plan is ever kept. For a given array the planner counts its elements, for any array it assumes ten: so the general plan is ten times as dear on
#           paper as one for a single element, and the statement is planned again each time. As a query of its own the array is not
#           looked into, both plans cost the same, and the general one is kept from the sixth execution on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @electric-sql/pglite@0.5.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"

const database = await PGlite.create()
await database.exec(`
  create table item (id int primary key, name text not null);
  insert into item select n, 'name ' || n from generate_series(1, 10000) n;
  analyze item;
  prepare given(int[]) as select i.name from unnest($1) a(id) join item i on i.id = a.id;
  prepare asked(int[]) as select i.name from unnest((select $1)) a(id) join item i on i.id = a.id;`)
for (let n = 1; n <= 50; n++) for (const name of ["given", "asked"]) await database.exec(`execute ${name}('{${n}}')`)
const { rows } = await database.query("select name, custom_plans, generic_plans from pg_prepared_statements where name <> '' order by name desc")
for (const { name, custom_plans, generic_plans } of rows) console.log(`${name}: planned ${custom_plans} times, kept for ${generic_plans}`)
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
given: planned 50 times, kept for 0
asked: planned 5 times, kept for 45
SEEN
echo "as described"
