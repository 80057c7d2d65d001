/**
 * PostgreSQL embedded in the process: a `PgClient` on PGlite, in memory or in a folder on disk. The very same SQL runs on it as on
 * a server, so an application starts on a folder and moves to a server by swapping one Layer.
 *
 * **Durability.** With a folder, every commit is flushed to the disk before it is acknowledged (PGlite by itself does not do so).
 *
 * **One connection.** PGlite is one backend: statements run one after the other, and the client holds one connection.
 *
 * **One process a folder.** PGlite has no lock that keeps a second process out of a folder, and a second one damages it: several
 * processes need a server, or SQLite. So a file `eventfold.lock` in the folder says which process has it open, and a second one is refused; that
 * of a process which is not there any more is passed over; on Linux also where another has got its number since.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { PGlite } from "@electric-sql/pglite"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Fs from "node:fs"
import { join, resolve } from "node:path"
import { Duplex } from "node:stream"
import { describe } from "../sql/errors.ts"
import { EventStoreError, StoreUnavailable } from "../store/EventStore.ts"

/**
 * Where the embedded database is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The folder that the database lives in; made when absent. Default: in memory, gone with the Layer. */
  readonly dataDir?: string | undefined
}

const unavailable = (detail: string) => (cause: unknown) =>
  new EventStoreError({
    reason: new StoreUnavailable({
      operation: "open",
      detail: `${detail}: ${describe(cause)}`,
      cause
    })
  })

/** What of PGlite's file system is needed to flush files; it is not part of its types. */
interface FlushableFileSystem {
  readonly NODEFS: { readonly stream_ops: { fsync?: (stream: { readonly nfd: number }) => number } }
}

/** The folders that this process has open. */
const held = new Set<string>()

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/**
 * When a process was started, in ticks since the machine was: what tells it from another that has got its number since. Nothing where the system
 * does not say it as Linux does.
 */
const startOf = (pid: number): string | undefined => {
  try {
    const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
    // The name of the program, which may be anything, stands in parentheses before it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
  } catch {
    return undefined
  }
}

/** Whoever has a folder open, as its file says; none where that process has gone. */
const holderOf = (file: string): string | undefined => {
  const [, number = "", start] = /^(\d+)(?: (\d+))?$/.exec(Fs.readFileSync(file, "utf8").trim()) ?? []
  const pid = Number(number)
  // Whoever has made the file may be about to write its number.
  if (!Number.isSafeInteger(pid) || pid <= 0) return "another process"
  // That of this process was left behind by one that had the same number.
  if (pid === process.pid || !isAlive(pid)) return undefined
  const now = startOf(pid)
  const isOther = start !== undefined && now !== undefined && start !== now
  return isOther ? undefined : `the process ${pid}`
}

/** Makes the file, where there is none: of two processes at once one does. */
const isMade = (file: string): boolean => {
  try {
    Fs.writeFileSync(file, [process.pid, startOf(process.pid) ?? ""].join(" ").trim(), { flag: "wx" })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    throw error
  }
}

const takeFolder = (dataDir: string) => {
  const folder = resolve(dataDir)
  const file = join(folder, "eventfold.lock")
  const refuse = (holder: string) =>
    new Error(`${holder} has it open, and a second one would damage it. If that is not so, delete ${file}`)
  const take = Effect.try({
    try: () => {
      Fs.mkdirSync(folder, { recursive: true })
      if (held.has(folder)) throw refuse(`the process ${process.pid}`)
      if (!isMade(file)) {
        const holder = holderOf(file)
        if (holder !== undefined) throw refuse(holder)
        Fs.rmSync(file, { force: true })
        if (!isMade(file)) throw refuse("another process")
      }
      held.add(folder)
    },
    catch: unavailable(`PGlite could not open ${dataDir}`)
  })
  const leave = Effect.sync(() => {
    held.delete(folder)
    Fs.rmSync(file, { force: true })
  })
  return Effect.acquireRelease(take, () => leave)
}

const open = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<PGlite, EventStoreError, Scope.Scope> {
  const { dataDir } = options
  const { PGlite } = yield* Effect.tryPromise({
    try: () => import("@electric-sql/pglite"),
    catch: unavailable("the embedded store needs the package @electric-sql/pglite")
  })
  const create = async (): Promise<PGlite> => {
    if (dataDir === undefined) return PGlite.create()
    const { NodeFS } = await import("@electric-sql/pglite/nodefs")
    class FlushingFs extends NodeFS {
      override async init(...args: Parameters<InstanceType<typeof NodeFS>["init"]>) {
        const { emscriptenOpts } = await super.init(...args)
        const flush = (module: unknown) => {
          ;(module as FlushableFileSystem).NODEFS.stream_ops.fsync = ({ nfd }) => {
            Fs.fsyncSync(nfd)
            return 0
          }
        }
        return { emscriptenOpts: { ...emscriptenOpts, preRun: [...(emscriptenOpts.preRun ?? []), flush] } }
      }
    }
    return PGlite.create({
      fs: new FlushingFs(dataDir),
      // "-F" would turn fsync off; of the ways to flush the log this is the one that reaches the file system above.
      startParams: [...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"), "-c", "wal_sync_method=fsync"]
    })
  }
  if (dataDir !== undefined) yield* takeFolder(dataDir)
  return yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: create,
      catch: unavailable(dataDir === undefined ? "PGlite did not start" : `PGlite could not open ${dataDir}`)
    }),
    (pglite) => Effect.promise(() => pglite.close())
  )
})

const cancelRequestCode = 80_877_102
const terminate = 0x58

/** One connection: what the client writes goes to PGlite, and its answer comes back. */
const connect = (pglite: PGlite): Duplex => {
  let used = false
  return new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, callback) {
      // A statement has ended by the time that a request to cancel it could be heard.
      const isCancel = chunk.length === 16 && chunk.readUInt32BE(4) === cancelRequestCode
      if (isCancel || chunk[0] === terminate) return callback()
      used = true
      // What PGlite gives back whole it also parses, and keeps until its next query of its own: for ever.
      const answer: Array<Uint8Array> = []
      // The bytes are PostgreSQL's buffer, which is written again as soon as this returns; and PGlite would swallow what a reader throws.
      const onRawData = (bytes: Uint8Array) => void answer.push(bytes.slice())
      pglite.execProtocolRawStream(chunk, { onRawData }).then(
        () => {
          this.push(Buffer.concat(answer))
          callback()
        },
        (cause: unknown) => callback(cause instanceof Error ? cause : new Error(String(cause)))
      )
    },
    final(callback) {
      this.push(null)
      callback()
    },
    destroy(error, callback) {
      // The next connection meets the same backend: it must not find an open transaction or prepared statements there.
      const reset = used && !pglite.closed ? pglite.exec("rollback").then(() => pglite.exec("discard all")) : Promise.resolve()
      reset.then(
        () => callback(error),
        () => callback(error)
      )
    }
  })
}

/**
 * Makes a `PgClient` on PostgreSQL embedded in the process. Needs the package `@electric-sql/pglite`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<PgClient.PgClient, EventStoreError, Scope.Scope> {
  const pglite = yield* open(options)
  return yield* PgClient.make({
    stream: () => connect(pglite),
    username: "postgres",
    password: Redacted.make("postgres"),
    database: "postgres",
    ssl: false,
    maxConnections: 1,
    minConnections: 1,
    idleTimeout: Duration.infinity
  }).pipe(
    Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
    Effect.mapError(unavailable("PGlite refused the connection"))
  )
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, EventStoreError> =>
  PgClient.layerFrom(make(options))

/**
 * A `PgClient` (and `SqlClient`) on PostgreSQL embedded in the process. Needs the package `@electric-sql/pglite`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, EventStoreError> = layerWith({})

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`. A store on it is
 * `PgEventStore.layer`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, EventStoreError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))
