/** `schema`: what events look like, for others, and whether that has changed. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { printable } from "../../internal/printable.ts"
import { asFailure, refused, unreachable, usage } from "../failure.ts"
import { inTime } from "../globals.ts"
import { loadModule, type Module } from "../modules.ts"
import { note, print, rows } from "../output/write.ts"
import { plural } from "../output/text.ts"
import { check, Finding, isWritten, type Kept } from "../schema/checking.ts"
import { type Described, describeEvent, fileOf, type JsonSchema, textOf } from "../schema/describing.ts"
import { asyncApi, catalogue, sarif } from "../schema/publishing.ts"
import { parseTarget, type TargetParam } from "../target.ts"

const styles = { none: "green", note: "cyan", warning: "yellow", error: "red" } as const

const isKept = Schema.is(Schema.Struct({ title: Schema.String, "x-version": Schema.Int }))

/** The files of a folder that `schema --out` has written. */
const readFolder = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (!(yield* fs.exists(folder))) return yield* unreachable(`There is no folder ${folder}.`)
  const files = (yield* fs.readDirectory(folder)).filter((file) => /\.v\d+\.json$/.test(file)).toSorted()
  return yield* Effect.forEach(files, (file) =>
    Effect.gen(function* () {
      const text = yield* fs.readFileString(path.join(folder, file))
      const document = yield* Effect.try({
        try: (): unknown => JSON.parse(text),
        catch: () => refused(`${path.join(folder, file)} is no JSON: write it anew with --out.`)
      })
      if (!isKept(document)) {
        return yield* refused(`${path.join(folder, file)} has no title or no x-version: write it anew with --out.`)
      }
      const kept: Kept = {
        file,
        type: document.title,
        version: document["x-version"],
        document: document as JsonSchema
      }
      return kept
    })
  )
}, Effect.mapError(asFailure))

/** Writes all documents to a folder. Files of earlier versions stay: they say what was written once. */
const writeFolder = Effect.fnUntraced(function* (
  folder: string,
  described: ReadonlyArray<Described>,
  others: Readonly<Record<string, string>>
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(folder, { recursive: true })
  const files = { ...Object.fromEntries(described.map((one) => [fileOf(one), textOf(one.document)])), ...others }
  for (const [file, text] of Object.entries(files)) yield* fs.writeFileString(path.join(folder, file), text)
  yield* print(`${plural(Object.keys(files).length, "file")} written to ${folder}.`)
}, Effect.mapError(asFailure))

const compare = Effect.fnUntraced(function* (module: Module, folder: string, sarifFile: Option.Option<string>, version: string) {
  const findings = check(module.events, yield* readFolder(folder))
  if (Option.isSome(sarifFile)) {
    const fs = yield* FileSystem.FileSystem
    const text = textOf(sarif(findings, folder, version))
    yield* Effect.mapError(fs.writeFileString(sarifFile.value, text), asFailure)
  }
  yield* rows({
    schema: Finding,
    rows: findings,
    columns: [
      { head: "TYPE", cell: ({ type }) => type, least: 10, style: () => "bold" },
      { head: "VERSION", align: "right", cell: ({ version }) => String(version) },
      { head: "VERDICT", cell: ({ verdict }) => verdict, style: ({ level }) => styles[level] },
      { head: "WHAT IT MEANS", cell: ({ message }) => message, least: 20 }
    ],
    none: "There are no events."
  })
  const different = findings.filter(({ verdict }) => verdict !== "same").length
  if (different > 0) return yield* refused(`${plural(different, "type")} of ${findings.length} differ from ${folder}.`)
})

export const schema = (url: TargetParam, version: string) =>
  Command.make(
    "schema",
    {
      url,
      check: Flag.String("check").pipe(
        Flag.withDescription("Compares with the files of this folder: a verdict for each type, and 5 where anything differs"),
        Flag.optional
      ),
      out: Flag.String("out").pipe(Flag.withDescription("Writes all documents to this folder"), Flag.optional),
      asyncapi: Flag.Boolean("asyncapi").pipe(
        Flag.withDescription("Prints AsyncAPI 3.0 of what is published"),
        Flag.withDefault(false)
      ),
      catalogue: Flag.Boolean("catalogue").pipe(Flag.withDescription("Prints a page of Markdown"), Flag.withDefault(false)),
      sarif: Flag.String("sarif").pipe(Flag.withDescription("With --check: writes the findings to this file"), Flag.optional)
    },
    (input) =>
      Effect.gen(function* () {
        const target = yield* parseTarget(input.url)
        if (target.kind !== "module") return yield* usage("This takes the path of a module that exports definitions.")
        const module = yield* inTime(input.url, loadModule(target.url))
        const events = module.events.filter(isWritten)
        if (module.events.length === 0) return yield* usage(`${input.url} exports no events, aggregates or process managers.`)
        if (Option.isSome(input.sarif) && Option.isNone(input.check)) return yield* usage("--sarif goes with --check.")
        const described = events.map(describeEvent)
        for (const { type, vague } of described) {
          for (const path of vague) {
            yield* note(
              `eventfold: ${printable(`${type}: nothing is said of ${path}. Its Schema needs an encoding, or an annotation "toJsonSchema".`)}`
            )
          }
        }
        if (Option.isSome(input.check)) return yield* compare(module, input.check.value, input.sarif, version)
        const api = asyncApi(events, "Events", "1.0.0")
        const page = catalogue(module, events)
        if (Option.isSome(input.out)) {
          return yield* writeFolder(input.out.value, described, { "asyncapi.json": textOf(api), "catalogue.md": page })
        }
        if (input.asyncapi) return yield* print(textOf(api).trimEnd())
        if (input.catalogue) return yield* print(page.trimEnd())
        return yield* rows({
          schema: DescribedDocument,
          rows: described,
          columns: [
            { head: "TYPE", cell: ({ type }) => type, least: 10, style: () => "bold" },
            { head: "VERSION", align: "right", cell: ({ version }) => String(version) },
            { head: "PUBLISHED", cell: ({ published }) => (published ? "yes" : "-") },
            { head: "FIELDS", cell: ({ document }) => Object.keys(document["properties"] ?? {}).join(", "), least: 10 }
          ],
          none: "There are no events."
        })
      })
  ).pipe(Command.withDescription("What events look like, as JSON Schema, AsyncAPI and a page; and whether that has changed"))

/** What `schema --json` gives of each type. */
const DescribedDocument = Schema.Struct({
  type: Schema.String,
  version: Schema.Int,
  published: Schema.Boolean,
  document: Schema.Record(Schema.String, Schema.Json),
  vague: Schema.Array(Schema.String)
})
