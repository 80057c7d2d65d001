/** The other event stores: packages of this folder, which is installed when a case needs it. */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

const lockOf = (path: string) => {
  const { packages } = JSON.parse(readFileSync(path, "utf8")) as {
    packages: Record<string, { version?: string; optional?: true }>
  }
  return Object.entries(packages).flatMap(([name, { optional, version }]) =>
    name === "" || optional === true ? [] : [`${name} ${version}`]
  )
}

const installed = () => {
  const stands = join(import.meta.dirname, "node_modules/.package-lock.json")
  if (!existsSync(stands)) return false
  const packages = new Set(lockOf(stands))
  return lockOf(join(import.meta.dirname, "package-lock.json")).every((one) => packages.has(one))
}

/** Installs what the lock file says, unless just that is there. */
export const install = (): void => {
  if (installed()) return
  try {
    execFileSync("npm", ["ci", "--ignore-scripts", "--loglevel=error"], {
      cwd: import.meta.dirname,
      shell: process.platform === "win32",
      stdio: ["ignore", "ignore", "inherit"]
    })
  } catch (cause) {
    throw new Error("the peers in test/bench/peers could not be installed: see above, or leave them out with --no-peers", {
      cause
    })
  }
}

/** A package of this folder, of which the caller says what it needs of it: it is absent where types are checked. */
export const load = (name: string): Promise<unknown> => import(name)

/** What is used of a pool of `pg`. */
export interface Pool {
  readonly query: (text: string) => Promise<{ readonly rows: ReadonlyArray<{ readonly count: string }> }>
  readonly end: () => Promise<void>
}

export const openPool = (connectionString: string, max: number): Effect.Effect<Pool, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const { Pool } = (await load("pg")) as { readonly Pool: new (options: object) => Pool }
      return new Pool({ connectionString, max })
    }),
    (pool) => Effect.promise(() => pool.end())
  )

/** How many rows a table has. */
export const countOf = (pool: Pool, table: string): Effect.Effect<number, unknown> =>
  Effect.map(
    Effect.tryPromise(() => pool.query(`select count(*) from ${table}`)),
    ({ rows }) => Number(rows[0]?.count)
  )
