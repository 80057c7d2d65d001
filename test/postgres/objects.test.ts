import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PGlite } from "@electric-sql/pglite"
import { expect, it } from "vitest"
import { makeSql, storeObjects } from "../../src/postgres/sql.ts"
import { render } from "../../src/postgres/sql/statement.ts"
import { makeTransportSql, transportObjects } from "../../src/postgres/transportSql.ts"

const names = { schema: "Shop", prefix: "es_" }
const schema = `create schema "Shop"`

/** What stands in the schema: tables with their columns, indexes, constraints, triggers and functions, as the database would write them. */
const contents = `
  select 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull as item
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
   where c.relnamespace = '"Shop"'::regnamespace and c.relkind = 'r'
  union all select pg_get_indexdef(oid) from pg_class where relnamespace = '"Shop"'::regnamespace and relkind = 'i'
  union all select pg_get_constraintdef(oid) from pg_constraint where connamespace = '"Shop"'::regnamespace
  union all select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
   where c.relnamespace = '"Shop"'::regnamespace and not tgisinternal
  union all select pg_get_functiondef(oid) from pg_proc where pronamespace = '"Shop"'::regnamespace
  union all select 'head ' || position from "Shop".es_head
  union all select 'transport head ' || seq from "Shop".es_transport_head
  order by 1`

/** What stands after these scripts, each sent as it is by the simple protocol, as `psql -f` does. Leaves nothing behind. */
const after = async (database: PGlite, scripts: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  for (const script of scripts) await database.exec(script)
  const { rows } = await database.query<{ item: string }>(contents)
  await database.exec(`drop schema "Shop" cascade`)
  return rows.map(({ item }) => item)
}

it("each SQL object is a script of its own, and in their order they make what the migrations make", async () => {
  const folder = await mkdtemp(join(tmpdir(), "eventfold-sql-"))
  const database = await PGlite.create()
  try {
    const objects = Object.entries({ ...storeObjects, ...transportObjects })
    for (const [index, [name, statements]] of objects.entries()) {
      const script = statements.map((text) => `${render(text, names)};\n`).join("\n")
      await writeFile(join(folder, `${String(index).padStart(2, "0")}_${name}.sql`), script)
    }
    const files = (await readdir(folder)).toSorted()
    expect(files.map((file) => file.slice(3))).toEqual(
      [
        "eventTables",
        "refuseChange",
        "newestMatch",
        "newestPosition",
        "appendLock",
        "eventsStand",
        "append",
        "appendEvent",
        "appendOne",
        "appendOld",
        "headView",
        "tombstones",
        "chain",
        "flush",
        "messageTables",
        "claim",
        "settle"
      ].map((name) => `${name}.sql`)
    )
    const scripts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")))
    const [store, transport] = [makeSql(names), makeTransportSql(names)]
    const made = await after(database, [schema, ...scripts])
    expect(made.length).toBeGreaterThan(60)
    expect(made).toEqual(
      await after(database, [
        schema,
        ...store.createTables,
        ...store.createFunctions,
        ...store.createTombstones,
        ...store.createChain,
        ...store.addFlush,
        ...transport.createTables
      ])
    )
  } finally {
    await database.close()
    await rm(folder, { recursive: true })
  }
}, 30_000)

it("no name is left open, and none is put in twice", () => {
  for (const text of Object.values({ ...storeObjects, ...transportObjects }).flat()) {
    const rendered = render(text, names)
    expect(rendered).not.toMatch(/\{[a-z_]+\}/)
    expect(render(rendered, names)).toBe(rendered)
  }
})
