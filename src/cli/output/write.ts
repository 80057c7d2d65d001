/** Where everything goes that is written: to a person's terminal, or to a script. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Json, NoColor } from "../globals.ts"
import { printable } from "../../internal/printable.ts"
import { bar } from "./progress.ts"
import { type Column, type Paint, paints, table } from "./table.ts"

/** The two streams of a process, and what the one for answers can show. */
export class Streams extends Context.Service<
  Streams,
  {
    readonly columns: number
    readonly isColoured: boolean
    /** Whether a line may be drawn anew. */
    readonly isAnimated: boolean
    /** Whether a person can be asked. */
    readonly isInteractive: boolean
    readonly out: (text: string) => Effect.Effect<void>
    readonly err: (text: string) => Effect.Effect<void>
  }
>()("eventfold/cli/Streams") {}

/** Lines for a person. */
export const print = (...lines: ReadonlyArray<string>): Effect.Effect<void, never, Streams> =>
  Effect.flatMap(Streams, ({ out }) => (lines.length === 0 ? Effect.void : out(`${lines.join("\n")}\n`)))

/** A line beside the answer. */
export const note = (line: string): Effect.Effect<void, never, Streams> => Effect.flatMap(Streams, ({ err }) => err(`${line}\n`))

export const painter = Effect.gen(function* () {
  const { isColoured } = yield* Streams
  const paint: Paint = paints(isColoured && !(yield* NoColor))
  return paint
})

/** Documents for a script, one a line, as their Schema writes them. What turns text about is escaped: it stays the same JSON. */
export const documents = <S extends Schema.Top>(schema: S, values: ReadonlyArray<S["Type"]>) =>
  Effect.flatMap(
    Effect.forEach(values, (value) => Effect.orDie(Schema.encodeEffect(schema)(value))),
    (encoded) => print(...encoded.map((value) => printable(JSON.stringify(value))))
  )

/** A value: as a document for a script, and by `lines` for a person. */
export const show = <S extends Schema.Top, R>(
  schema: S,
  value: S["Type"],
  lines: (view: { readonly width: number; readonly paint: Paint }) => Effect.Effect<ReadonlyArray<string>, never, R>
) =>
  Effect.gen(function* () {
    if (yield* Json) return yield* documents(schema, [value])
    const { columns } = yield* Streams
    return yield* print(...(yield* lines({ width: columns, paint: yield* painter })))
  })

/** Rows: a document each for a script, and a table for a person, or a word where there are none. */
export const rows = <S extends Schema.Top>(options: {
  readonly schema: S
  readonly rows: ReadonlyArray<S["Type"]>
  readonly columns: ReadonlyArray<Column<S["Type"]>>
  readonly none: string
  readonly below?: (row: S["Type"]) => ReadonlyArray<string>
}) =>
  Effect.gen(function* () {
    if (yield* Json) return yield* documents(options.schema, options.rows)
    const { columns: width } = yield* Streams
    const { below, columns, none, rows } = options
    const paint = yield* painter
    return yield* print(...(rows.length === 0 ? [none] : table(columns, rows, { width, paint, ...(below && { below }) })))
  })

/** A bar that is drawn anew on a terminal. A script, and who is piped to, hear of the end alone. */
export const progress = Effect.fnUntraced(function* (name: string) {
  const { columns, err, isAnimated } = yield* Streams
  const paint = yield* painter
  const isQuiet = !isAnimated || (yield* Json)
  const began = yield* Clock.currentTimeMillis
  let first: number | undefined
  return {
    step: (position: number, target: number): Effect.Effect<void> =>
      isQuiet
        ? Effect.void
        : Effect.flatMap(Clock.currentTimeMillis, (now) => {
            first ??= position
            const seconds = (now - began) / 1000
            const rate = seconds > 0.5 ? (position - first) / seconds : 0
            return err(`\r${bar({ name, position, target, rate }, columns, paint)}\u001b[K`)
          }),
    clear: isQuiet ? Effect.void : err("\r\u001b[K")
  }
})
