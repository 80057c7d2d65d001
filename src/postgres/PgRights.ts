/**
 * The rights of an application's role: a script of `grant`s, for a role that uses the tables and makes none.
 *
 * Tables are made and updated by another role, which owns the schema: where it may create none in the database, let an administrator
 * `create schema … authorization` it first.
 *
 * @since 0.2.0
 */
import { folded, quoted } from "../sql/names.ts"
import { beside, ownersBeside, usualPostgres } from "../store/tables.ts"
import { grants as statements } from "./sql/grants.ts"
import { render } from "./sql/statement.ts"

/**
 * What has tables of its own. What follows the log needs the `store` and the `checkpoints`: subscriptions, projections, process managers
 * (which append, too) and relays (which need the `transport` besides).
 *
 * @category models
 * @since 0.2.0
 */
export type Module = keyof typeof statements

/**
 * Whose rights, and to what.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The role, as it is called in the database. */
  readonly role: string
  /** What it uses. Default: everything but projections, `retention`, which is for a role that removes events, and `keys`, which is where `Keys.layerSql` keeps its table. Their tables must stand. */
  readonly modules?: ReadonlyArray<Module> | undefined
  /** The projections that it runs, each in this version, and whose tables it reads. Their tables must stand. Default: none. */
  readonly projections?:
    | ReadonlyArray<{ readonly version: number; readonly tables: ReadonlyArray<{ readonly name: string }> }>
    | undefined
  /** The database schema of the store. Default: `"eventfold"`. */
  readonly schema?: string | undefined
  /** What the names of the store's tables begin with. Default: nothing. */
  readonly tablePrefix?: string | undefined
}

const modulesOfAll = Object.keys(statements) as ReadonlyArray<Module>
/** Whoever may append need not be able to remove; and the keys of personal data are best in another database. */
const usualModules = modulesOfAll.filter((module) => module !== "retention" && module !== "keys")

/**
 * The script that gives a role what it needs, and nothing else, to run with `migrate: false`. Run it in the role that owns the tables,
 * after they have been made, and again after a projection has a new version. Run twice, it does nothing more.
 *
 * **Details**: what {@link Options.modules} names, and the tables of `projections`: `TRUNCATE` among the rights to them is for
 * `Projection.rebuild`. `Projection.prepare`, `switchTo` and `drop` make and drop tables, and are for the role that owns the schema.
 *
 * ```ts
 * import { PgRights } from "eventfold/postgres"
 *
 * PgRights.grants({ role: "shop", modules: ["inbox"] })
 * // => 'grant usage on schema "eventfold" to "shop";\ngrant select, insert, delete on "eventfold"."inbox" to "shop";\n'
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const grants = (options: Options): string => {
  const { modules = usualModules, projections = [], schema = usualPostgres.schema, tablePrefix = usualPostgres.prefix } = options
  const place = { schema, prefix: tablePrefix }
  const role = `"${options.role.replaceAll('"', '""')}"`
  const views = projections.flatMap(({ tables, version }) =>
    tables.flatMap(({ name }) => {
      const table = beside(place, `${folded(name)}_v${version}`)
      return [
        ...(table.schema === schema ? [] : [`grant usage on schema "${table.schema}" to ${role}`]),
        `grant select on ${quoted(ownersBeside(place, folded(name)))} to ${role}`,
        `grant select, insert, update, delete, truncate on ${quoted(table)} to ${role}`,
        `grant select on ${quoted(beside(place, folded(name)))} to ${role}`
      ]
    })
  )
  const texts = modulesOfAll.filter((module) => modules.includes(module)).flatMap((module) => statements[module])
  const rendered = texts.map((text) =>
    render(
      text.replace("{role}", () => role),
      place
    )
  )
  const lines = [`grant usage on schema "${schema}" to ${role}`, ...rendered, ...new Set(views)]
  return lines.map((line) => `${line};\n`).join("")
}
