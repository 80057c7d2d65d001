/** What a verb is about: a store, a running program, or a module that exports the Layer of one. */
import * as Argument from "effect/cli/Argument"
import * as Effect from "effect/Effect"
import * as Flag from "effect/cli/Flag"
import { existsSync, statSync } from "node:fs"
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
      if (text.trim() === "") return Effect.fail(usage(`It is not said what the verb is about: ${wanted}.`))
      if (!existsSync(text)) return Effect.fail(unreachable(`There is no file ${text}. What a verb is about is ${wanted}.`))
      if (statSync(text).isDirectory()) return Effect.fail(usage(`${text} is a folder. What a verb is about is ${wanted}.`))
      return isModule(text)
        ? Effect.succeed({ kind: "module", url: pathToFileURL(resolve(text)).href })
        : Effect.fail(usage(`${text} is no module. A database is named by its kind: sqlite:${text}, or jsonl:${text}.`))
    default:
      return Effect.fail(usage(`"${maskedTarget(text)}" is none of ${wanted}.`))
  }
}

/** Whether a word ends as a module does. */
const isModule = (word: string): boolean => /\.[cm]?[jt]sx?$/.test(word)

/** Whether a word says by itself that it is the URL of a store or of a program. */
const isUrl = (word: string): boolean => /^(postgres|postgresql|sqlite|jsonl|pglite|https?|file):/i.test(word)

/** Whether a word may say what a verb is about; one that ends as a module does may as well be the name of a stream. */
const mayBeTarget = (word: string): boolean => isUrl(word) || isModule(word)

/** The parameter of each verb that says what it is about. */
export type TargetParam = Argument.Argument<string> | Flag.Flag<string>

const url = Argument.String("url").pipe(Argument.withDescription(`${wanted}. Default: EVENTFOLD_URL`))

/** One way to read the words of a command line, and whether it may turn out that another was meant. */
export interface Reading {
  readonly param: TargetParam
  readonly isMeant: () => boolean
}

/**
 * How the words are read: as those whose first argument says what the verb is about; and, where `EVENTFOLD_URL` says it, as those which
 * leave it out. The second way is tried where the first word names nothing that a verb could be about, or would be missed elsewhere. The
 * URL is so neither in the history of the shell nor in the list of processes.
 */
export const readingsOf = (words: ReadonlyArray<string>, fallback: string | undefined): ReadonlyArray<Reading> => {
  if (fallback === undefined || fallback === "") return [{ param: url, isMeant: () => true }]
  const left: Reading = { param: Flag.String("url").pipe(Flag.withHidden, Flag.withDefault(fallback)), isMeant: () => true }
  if (!words.some(mayBeTarget)) return [left]
  let isMeant = false
  const given = Argument.filter(
    url,
    (word) => {
      isMeant = isUrl(word)
      return mayBeTarget(word)
    },
    () => wanted
  )
  return [{ param: given, isMeant: () => isMeant }, left]
}

/** The target as it stands in a command that is proposed: never with a password. */
export const hinted = (text: string): string => (maskedTarget(text) === text ? quoted(text) : "<url>")

/** A word of a command that is proposed, as a shell takes it for one. */
export const quoted = (word: string): string => (/^[\w:@./=+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)
