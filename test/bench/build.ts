/** Another commit of eventfold, beside this one. */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { makeServerFolder } from "../support/server-folder.ts"

const root = join(import.meta.dirname, "../..")

const git = (...args: ReadonlyArray<string>) =>
  execFileSync("git", args, { cwd: root, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "pipe"] })

/** A commit that `--against` compares with. */
export interface Build {
  readonly name: string
  /** Where its `package.json` and `src` are. */
  readonly folder: string
}

/**
 * The sources of a commit in a folder of their own, with the packages of this one. They run as they are, as those of this folder do.
 * The folder goes when the scope closes, and in any case with this process.
 */
export const checkOut = (commit: string): Effect.Effect<Build, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const name = yield* Effect.try({
      try: () => git("rev-parse", "--short", "--verify", `${commit}^{commit}`).toString().trim(),
      catch: (cause) => new Error(`"${commit}" is no commit of this repository`, { cause })
    })
    const { path } = yield* Effect.acquireRelease(
      Effect.promise(() => makeServerFolder({ name: "build", signal: "KILL" })),
      ({ dispose }) => Effect.promise(dispose)
    )
    const folder = join(path, name)
    yield* Effect.try({
      try: () => {
        mkdirSync(folder)
        execFileSync("tar", ["-x", "-C", folder], { input: git("archive", name, "package.json", "src") })
        symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "junction")
      },
      catch: (cause) => new Error(`the sources of ${name} could not be put beside these`, { cause })
    })
    return { name, folder }
  })
