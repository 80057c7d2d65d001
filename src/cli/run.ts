/** One run of the command line: arguments in, an exit code out. */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { codes, lineOf, tell, type Told, toldLine } from "./failure.ts"
import { Streams } from "./output/write.ts"
import { type Reading, readingsOf } from "./target.ts"
import { makeTree } from "./tree.ts"

const report = (told: Omit<Told, "code">, isJson: boolean) => Effect.flatMap(Streams, ({ err }) => err(toldLine(told, isJson)))

/** A word that is no verb, and is like none, is told beside those that there are. */
const linesOf = ({ errors, helpDoc }: CliOutput.Presenter.InvalidInvocation): string =>
  errors
    .map((error) => {
      const line = lineOf(error.message)
      if (error._tag !== "UnknownSubcommand" || error.suggestions.length > 0) return line
      const verbs = helpDoc.subcommands?.flatMap(({ commands }) => commands.map(({ name }) => name)) ?? []
      return verbs.length === 0 ? line : `${line}, which has ${verbs.join(", ")}`
    })
    .join(" ")

/** Wrong use is one line; help is shown where it was asked for, or where nothing was. */
const presenter = (
  streams: Streams["Service"],
  words: ReadonlyArray<string>,
  invalid: (tell: Effect.Effect<void>) => Effect.Effect<void>
): CliOutput.Presenter => {
  const formatter = CliOutput.defaultFormatter({ colors: streams.isColoured && !words.includes("--no-color") })
  return {
    present: (event) => {
      switch (event._tag) {
        case "Help":
          return streams.out(`${formatter.formatHelpDoc(event.helpDoc)}\n`)
        case "Version":
          return streams.out(`${event.name} ${event.version}\n`)
        case "InvalidInvocation": {
          const message = linesOf(event)
          const [first] = event.errors
          const told = report({ tag: first?._tag ?? "UsageError", message }, words.includes("--json"))
          return invalid(Effect.provideService(told, Streams, streams))
        }
      }
    }
  }
}

/** Reads the words in one way, and runs what they ask for; `undefined` where they may be meant in another way. */
const runAs = Effect.fnUntraced(function* (words: ReadonlyArray<string>, { isMeant, param }: Reading, version: string) {
  const streams = yield* Streams
  let isOther = false
  const invalid = (tell: Effect.Effect<void>) =>
    Effect.suspend(() => {
      isOther = !isMeant()
      return isOther ? Effect.void : tell
    })
  const exit = yield* Command.runWith(makeTree(param, version), { version })(words).pipe(
    Effect.provideService(CliOutput.Presenter, presenter(streams, words, invalid)),
    Effect.provideService(
      CliConfig.CliConfig,
      CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
    ),
    Effect.exit
  )
  return isOther ? undefined : exit
})

/** Runs the verb that the words ask for, says what fails, and gives the exit code. */
export const run = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  options: { readonly version: string; readonly url: string | undefined }
) {
  for (const reading of readingsOf(words, options.url)) {
    const exit = yield* runAs(words, reading, options.version)
    if (exit === undefined) continue
    if (Exit.isSuccess(exit)) return codes.done
    // What is wrong with the words has been told.
    if (CliError.isCliError(Cause.squash(exit.cause))) return codes.usage
    const told = tell(exit.cause)
    yield* report(told, words.includes("--json"))
    return told.code
  }
  return codes.usage
})
