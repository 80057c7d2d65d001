/** What goes wrong, as one line and an exit code. */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import { printable } from "../internal/printable.ts"

/** The exit codes, by what they say. */
export const codes = {
  done: 0,
  defect: 1,
  usage: 2,
  notFound: 3,
  unreachable: 4,
  refused: 5,
  nobodyTook: 6,
  interrupted: 130
} as const

/** What the command line itself finds wrong. */
export class CliFailure extends Data.TaggedError("CliFailure")<{
  /** What a script tells it by. */
  readonly tag: string
  readonly code: number
  readonly message: string
}> {}

export const usage = (message: string) => new CliFailure({ tag: "UsageError", code: codes.usage, message })
export const notFound = (message: string) => new CliFailure({ tag: "NotFoundError", code: codes.notFound, message })
export const unreachable = (message: string) => new CliFailure({ tag: "UnavailableError", code: codes.unreachable, message })
export const refused = (message: string) => new CliFailure({ tag: "RefusedError", code: codes.refused, message })

/** The codes of the errors of the operations, and of stores. */
const codeOfTag: Readonly<Record<string, number>> = {
  NotFoundError: codes.notFound,
  UnavailableError: codes.unreachable,
  UnauthorizedError: codes.unreachable,
  NotAllowedError: codes.unreachable,
  EventStoreError: codes.unreachable,
  SqlError: codes.unreachable,
  PlatformError: codes.unreachable,
  RpcClientError: codes.unreachable,
  NotRegisteredError: codes.usage,
  InvalidRequestError: codes.usage,
  RefusedError: codes.refused,
  CopyError: codes.refused,
  NobodyTookError: codes.nobodyTook
}

/** A failure as it is told: one line, without a password. */
export interface Told {
  readonly tag: string
  readonly message: string
  readonly code: number
}

/** As it stands behind a colon: with a small letter, unless the word is a name. */
const behindColon = (sentence: string): string => sentence.replace(/^[A-Z](?=[a-z]*[ ,])/, (letter) => letter.toLowerCase())

/** How a failure is told: a line for a person, a document for a script. */
export const toldLine = ({ message, tag }: Omit<Told, "code">, isJson: boolean): string =>
  isJson ? `${JSON.stringify({ error: { tag, message } })}\n` : `eventfold: ${behindColon(message)}\n`

/** Passwords of URLs, wherever they stand in a text. */
export const withoutPasswords = (text: string): string =>
  text.replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:/?#@]*):\S*@/gi, "$1:***@").replace(/([?&]password=)[^&\s]*/gi, "$1***")

/** {@link withoutPasswords} of what was given as a target, which may have blanks in it; who is asked over HTTP may be told a token as a user. */
export const maskedTarget = (text: string): string =>
  /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
    ? text
        .replace(/^([a-z][a-z0-9+.-]*:\/\/[^:/?#@]*):[^]*@/i, "$1:***@")
        .replace(/^(https?:\/\/)[^:/?#@]*@/i, "$1***@")
        .replace(/([?&]password=)[^&]*/gi, "$1***")
    : text

/** What an error says, on one line. */
export const lineOf = (text: string): string =>
  printable(
    withoutPasswords(text)
      .replace(/\s*\n\s*/g, " ")
      .trim()
  )

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null

/** The innermost reason that says something: what wraps it says less. */
const innermost = (error: unknown, depth = 0): string => {
  if (!isRecord(error) || depth > 8) return ""
  const { cause, errors, message, reason } = error
  const [first] = Array.isArray(errors) ? (errors as ReadonlyArray<unknown>) : []
  const inner = innermost(reason, depth + 1) || innermost(cause, depth + 1) || innermost(first, depth + 1)
  return inner || (typeof message === "string" ? message : "")
}

/** Whether the program that was asked is not there, has gone amid its answer, or what answers is none that serves operations. */
const sentenceOfCall = (error: Readonly<Record<string, unknown>>): string => {
  const kind = isRecord(error["reason"]) ? error["reason"]["kind"] : undefined
  const why = innermost(error)
  if (kind === "TransportError") {
    return `Nobody answers at that address (${why}): is the program running that serves the operations?`
  }
  return kind === "DecodeError" || why.startsWith("HTTP response ended")
    ? `The answer broke off (${why}): does the program still run that serves the operations?`
    : `What answers at that address serves no operations that could be read (${why}): it ends with the path that Operate.layer was given.`
}

/** The sentence of an error. Those of this library say themselves what to do; of a connection the innermost says most. */
const sentenceOf = (error: unknown): string => {
  if (!isRecord(error)) return String(error)
  if (error["_tag"] === "RpcClientError") return sentenceOfCall(error)
  // Of a file: what the system says names it.
  if (error["_tag"] === "PlatformError") return innermost(error)
  const { message } = error
  return typeof message === "string" && message !== "" ? message : innermost(error) || String(error)
}

/** Any error as one of the command line: told as it would be. */
export const asFailure = (error: unknown): CliFailure =>
  error instanceof CliFailure ? error : new CliFailure(tell(Cause.fail(error)))

/** How a cause is told. Defects have no tag that anybody should rely on. */
export const tell = (cause: Cause.Cause<unknown>): Told => {
  if (Cause.hasInterruptsOnly(cause)) return { tag: "Interrupted", message: "Interrupted.", code: codes.interrupted }
  const error = Cause.squash(cause)
  const message = lineOf(sentenceOf(error))
  if (error instanceof CliFailure) return { tag: error.tag, message, code: error.code }
  const tag = isRecord(error) && typeof error["_tag"] === "string" ? error["_tag"] : "Defect"
  return { tag, message, code: codeOfTag[tag] ?? codes.defect }
}
