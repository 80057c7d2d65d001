#!/usr/bin/env bash
# A view lends its reader the rights of its owner on tables, and not on functions: not even on one that is never called.
#
# Software: PostgreSQL 18 as in @electric-sql/pglite 0.5.17.
# Input:    a role that was granted SELECT on views, and nothing else. The views read a table directly, through a function that the role may
#           execute, and in a CASE whose other branch, which is never taken, calls a function that the role may not execute.
# Guess:    what a view reads is checked against its owner, so the role reads all three; and a branch that is not taken asks for nothing.
# Seen:     the first alone. The function reads the table with the rights of the role. And EXECUTE is checked for each function of a statement
#           before it runs, whichever branch it stands in. A SECURITY DEFINER function for which the role has EXECUTE reads it.
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
  create table counter (n int);
  insert into counter values (7);
  create function read_counter() returns int language plpgsql stable as $$ begin return (select n from counter); end $$;
  create function as_owner() returns int language plpgsql stable security definer set search_path = pg_catalog, pg_temp
    as $$ begin return (select n from public.counter); end $$;
  create function forbidden() returns int language plpgsql as $$ begin return 0; end $$;
  revoke execute on function forbidden from public;
  create view direct as select n from counter;
  create view by_function as select read_counter() as n;
  create view by_branch as select case when now() < '2000-01-01' then forbidden() else n end as n from counter;
  create view by_definer as select as_owner() as n;
  create role reader;
  grant select on direct, by_function, by_branch, by_definer to reader;
  set role reader;
`)
for (const view of ["direct", "by_function", "by_branch", "by_definer"]) {
  const seen = await database.query(`select n from ${view}`).then(
    ({ rows }) => rows[0].n,
    ({ message }) => message
  )
  console.log(`${view}: ${seen}`)
}
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
direct: 7
by_function: permission denied for table counter
by_branch: permission denied for function forbidden
by_definer: 7
SEEN
echo "as described"
