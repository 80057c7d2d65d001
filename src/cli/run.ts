/** One run of the command line: arguments in, an exit code out. */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { codes, lineOf, tell, type Told } from "./failure.ts"
import { Streams } from "./output/write.ts"
import { targetParam } from "./target.ts"
import { makeTree } from "./tree.ts"

/** As it stands behind a colon: with a small letter, unless the word is a name. */
const behindColon = (sentence: string): string => sentence.replace(/^[A-Z](?=[a-z]*[ ,])/, (letter) => letter.toLowerCase())

/** How a failure is told: a line for a person, a document for a script. */
const report = ({ message, tag }: Omit<Told, "code">, isJson: boolean) =>
  Effect.flatMap(Streams, ({ err }) =>
    err(isJson ? `${JSON.stringify({ error: { tag, message } })}\n` : `eventfold: ${behindColon(message)}\n`)
  )

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
const presenter = (streams: Streams["Service"], isJson: boolean): CliOutput.Presenter => {
  const formatter = CliOutput.defaultFormatter({ colors: streams.isColoured })
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
          return Effect.provideService(report({ tag: first?._tag ?? "UsageError", message }, isJson), Streams, streams)
        }
      }
    }
  }
}

/** Runs the verb that the words ask for, says what fails, and gives the exit code. */
export const run = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  options: { readonly version: string; readonly url: string | undefined }
) {
  const isJson = words.includes("--json")
  const streams = yield* Streams
  const exit = yield* Command.runWith(makeTree(targetParam(words, options.url), options.version), { version: options.version })(
    words
  ).pipe(
    Effect.provideService(CliOutput.Presenter, presenter(streams, isJson)),
    Effect.provideService(
      CliConfig.CliConfig,
      CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
    ),
    Effect.exit
  )
  if (Exit.isSuccess(exit)) return codes.done
  const error = Cause.squash(exit.cause)
  // What is wrong with the words has been told.
  if (CliError.isCliError(error)) return codes.usage
  const told = tell(exit.cause)
  yield* report(told, isJson)
  return told.code
})
