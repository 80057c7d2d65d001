/** What a verb is about: a store, a running program, or a module that exports the Layer of one. */
import * as Argument from "effect/cli/Argument"
import * as Effect from "effect/Effect"
import * as Flag from "effect/cli/Flag"
import { existsSync } from "node:fs"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { type CliFailure, unreachable, usage, maskedTarget } from "./failure.ts"

export type Target =
  | { readonly kind: "postgres"; readonly url: string }
  | { readonly kind: "sqlite" | "jsonl" | "pglite"; readonly path: string }
  | { readonly kind: "http"; readonly url: string }
  | { readonly kind: "module"; readonly url: string }

const wanted = "postgres://…, sqlite:file, jsonl:file, pglite:folder, http://…, or the path of a module"

/** Reads what was given. Nothing is opened. */
export const parseTarget = (text: string): Effect.Effect<Target, CliFailure> => {
  const [, scheme = "", rest = ""] = /^([A-Za-z][A-Za-z0-9+.-]+):(.*)$/s.exec(text) ?? []
  switch (scheme.toLowerCase()) {
    case "postgres":
    case "postgresql":
    case "http":
    case "https": {
      const kind = scheme.toLowerCase().startsWith("http") ? "http" : "postgres"
      return URL.canParse(text)
        ? Effect.succeed({ kind, url: text })
        : Effect.fail(usage(`"${maskedTarget(text)}" is no URL: a password has its special characters percent-encoded.`))
    }
    case "sqlite":
    case "jsonl":
    case "pglite": {
      const path = rest.replace(/^\/\/(?=\/)/, "")
      const kind = scheme.toLowerCase() as "sqlite" | "jsonl" | "pglite"
      return path === "" ? Effect.fail(usage(`"${text}" names no file: ${kind}:path.`)) : Effect.succeed({ kind, path })
    }
    case "file":
      return Effect.succeed({ kind: "module", url: text })
    case "":
      return existsSync(text)
        ? Effect.succeed({ kind: "module", url: pathToFileURL(resolve(text)).href })
        : Effect.fail(unreachable(`There is no file ${text}. What a verb is about is ${wanted}.`))
    default:
      return Effect.fail(usage(`"${maskedTarget(text)}" is none of ${wanted}.`))
  }
}

/** Whether a word of the command line says what it is about. */
const isTarget = (word: string): boolean =>
  /^(postgres|postgresql|sqlite|jsonl|pglite|https?|file):/i.test(word) || /\.[cm]?[jt]s$/.test(word)

/** The parameter of each verb that says what it is about. */
export type TargetParam = Argument.Argument<string> | Flag.Flag<string>

/**
 * The first argument; or `EVENTFOLD_URL`, if no word of the command line names a store, so that the URL is neither in the history of the
 * shell nor in the list of processes.
 */
export const targetParam = (words: ReadonlyArray<string>, fallback: string | undefined): TargetParam =>
  fallback === undefined || fallback === "" || words.some(isTarget)
    ? Argument.String("url").pipe(Argument.withDescription(`${wanted}. Default: EVENTFOLD_URL`))
    : Flag.String("url").pipe(Flag.withHidden, Flag.withDefault(fallback))

/** The target as it stands in a command that is proposed: never with a password. */
export const hinted = (text: string): string => (maskedTarget(text) === text ? quoted(text) : "<url>")

/** A word of a command that is proposed, as a shell takes it for one. */
export const quoted = (word: string): string => (/^[\w:@./=+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)
