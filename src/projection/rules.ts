/** What a database does with the rows of a table beside keeping them: what was added to it by hand counts as what its definition says. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { indexOf } from "./indexes.ts"
import type { TableName } from "../sql/names.ts"
import type { AnyTable } from "./model.ts"
import { valuesOf } from "./sending.ts"
import type { Statements } from "./sql.ts"

/**
 * It keeps rows by their keys, and does no more (`"keeps"`); it may refuse a row because of others, or of what is in it (`"refuses"`); or
 * it does something else, or nobody can tell (`"more"`): triggers, foreign keys, policies.
 */
export type Rule = "keeps" | "refuses" | "more"

interface Own {
  readonly table: AnyTable
  readonly statements: Statements
  readonly place: TableName
}

const onPostgres = `select case
    when c.oid is null or c.relkind <> 'r' or c.relhasrules or c.relrowsecurity
      or exists (select from pg_trigger g where g.tgrelid = c.oid and not g.tgisinternal)
      or exists (select from pg_constraint f where f.contype = 'f' and (f.conrelid = c.oid or f.confrelid = c.oid))
    then 'more'
    when exists (select from pg_index i join pg_class n on n.oid = i.indexrelid
                  where i.indrelid = c.oid and not i.indisprimary and not (t.value -> 2 @> to_jsonb(n.relname::text)))
      or exists (select from pg_constraint f where f.conrelid = c.oid and f.contype not in ('p', 'n'))
      or exists (select from pg_attribute a join pg_type y on y.oid = a.atttypid
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> t.value ->> 1
                    and (a.attnotnull or y.typtype = 'd'))
    then 'refuses' else 'keeps' end
  from jsonb_array_elements($1::jsonb) with ordinality as t(value, nth) left join pg_class c on c.oid = to_regclass(t.value ->> 0)
 order by t.nth`

const onSqlite = `select case
    when s.name is null
      or exists (select 1 from sqlite_schema g where g.type = 'trigger' and g.tbl_name = s.name collate nocase)
      or exists (select 1 from sqlite_temp_schema g where g.type = 'trigger' and g.tbl_name = s.name collate nocase)
      or exists (select 1 from sqlite_schema o, pragma_foreign_key_list(o.name) f
                  where o.type = 'table' and (o.name = s.name or f."table" = s.name collate nocase))
    then 'more'
    when exists (select 1 from pragma_index_list(s.name) i
                  where i.origin <> 'pk' and i.name not in (select value from json_each(t.value, '$[2]')))
    then 'refuses' else 'keeps' end, s.sql
  from json_each(?1) as t left join sqlite_schema s on s.type = 'table' and s.name = json_extract(t.value, '$[0]') collate nocase
 order by t.key`

/** Whether the definition of a table of SQLite says more than which columns it has. */
const saysMore = (definition: unknown): boolean =>
  /\b(check|unique|not|generated|as|references|collate|conflict|strict)\b/i.test(String(definition).replaceAll(/"[^"]*"/g, ""))

/** What the database does with the rows of tables. */
export const rulesOf = (sql: SqlClient.SqlClient, tables: ReadonlyArray<Own>): Effect.Effect<ReadonlyArray<Rule>, SqlError> => {
  const asked = (name: (own: (typeof tables)[number]) => string) =>
    JSON.stringify(
      tables.map((own) => [
        name(own),
        own.table.key,
        own.table.indexes.filter(({ unique }) => !unique).map((index) => indexOf(sql, own.place, own.table.key, index).name.name)
      ])
    )
  return sql.onDialectOrElse({
    pg: () =>
      Effect.map(valuesOf(sql, onPostgres, [asked(({ statements }) => statements.table)]), (rows) =>
        rows.map(([rule]) => rule as Rule)
      ),
    orElse: () =>
      Effect.map(valuesOf(sql, onSqlite, [asked(({ place }) => place.name)]), (rows) =>
        rows.map(([rule, definition], index): Rule => {
          // In a database that was attached: not looked into.
          if (tables[index]?.place.schema !== undefined) return "more"
          return rule === "keeps" && saysMore(definition) ? "refuses" : (rule as Rule)
        })
      )
  })
}
