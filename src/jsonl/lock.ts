import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import { hostname } from "node:os"
import { basename, dirname, join } from "node:path"
import { realSleep } from "../internal/realTime.ts"

/** Somebody else has the lock. */
export class Locked {
  readonly _tag = "Locked"
  readonly owner: string
  readonly lockFile: string
  constructor(owner: string, lockFile: string) {
    this.owner = owner
    this.lockFile = lockFile
  }
}

interface Owner {
  readonly pid: number
  /** When the process started, in a unit of its platform: tells it from another that was given the same pid later. */
  readonly started: string
  readonly host: string
}

/**
 * Locks `path` for one writer, until the scope closes.
 *
 * Each contender makes a file with a name of its own, `<path>.lock-<pid>-<started>-<host>`, and only *then* looks for those of
 * others. Of two at once, at least one sees the other, so never both go on; and since a name belongs to one process, removing
 * the file of a dead one cannot hit the living.
 */
export const acquireLock = (
  fs: FileSystem.FileSystem,
  path: string
): Effect.Effect<void, PlatformError | Locked, Scope.Scope> => {
  const directory = dirname(path)
  const prefix = `${basename(path)}.lock-`

  /** The state and the start of a process, as Linux tells them. Other platforms do not. */
  const processStat = (pid: number | "self") =>
    fs.readFileString(`/proc/${pid}/stat`).pipe(
      Effect.map((stat) => {
        const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
        return { state: fields[0], started: fields[19] }
      }),
      Effect.orElseSucceed(() => undefined)
    )

  const isDead = Effect.fnUntraced(function* ({ host, pid, started }: Owner) {
    if (host !== hostname()) return false // nothing can be known of it
    try {
      process.kill(pid, 0)
    } catch (cause) {
      return (cause as NodeJS.ErrnoException).code === "ESRCH"
    }
    const stat = yield* processStat(pid)
    return stat !== undefined && (stat.state === "Z" || stat.started !== started)
  })

  const attempt = Effect.gen(function* () {
    const self = yield* processStat("self")
    const started = self?.started ?? String(Math.round(Date.now() / 1000 - process.uptime()))
    const own = `${prefix}${process.pid}-${started}-${hostname()}`
    const ownFile = join(directory, own)
    yield* fs
      .writeFileString(ownFile, "The events are being written by the process that this file is named after.\n", { flag: "wx" })
      .pipe(
        Effect.catchIf(
          (error) => error.reason._tag === "AlreadyExists",
          () => Effect.fail(new Locked("this process itself", ownFile))
        )
      )
    const look = Effect.gen(function* () {
      for (const name of yield* fs.readDirectory(directory)) {
        const parts = name.startsWith(prefix) && name !== own ? /^(\d+)-(\d+)-(.+)$/.exec(name.slice(prefix.length)) : null
        if (parts === null) continue
        const owner = { pid: Number(parts[1]), started: parts[2] as string, host: parts[3] as string }
        const file = join(directory, name)
        if (!(yield* isDead(owner))) return yield* Effect.fail(new Locked(`process ${owner.pid} on ${owner.host}`, file))
        yield* fs.remove(file, { force: true })
      }
    })
    const unlock = Effect.ignore(fs.remove(ownFile, { force: true }))
    yield* Effect.onError(look, () => unlock)
    return unlock
  })

  // Two that come at the same moment may both be refused: each tries again after a time of its own, longer and longer.
  const acquire = (wait: number): Effect.Effect<Effect.Effect<void>, PlatformError | Locked> =>
    Effect.catchIf(
      attempt,
      (error) => error._tag === "Locked" && wait < longestWait,
      () => Effect.andThen(realSleep(wait * (0.5 + Math.random())), acquire(wait * 2))
    )

  return Effect.asVoid(Effect.acquireRelease(acquire(10), (unlock) => unlock))
}

/** Milliseconds. */
const longestWait = 300
