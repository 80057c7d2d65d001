/** `migrate`: the tables of a store. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { dryRun } from "../../sql/migrating.ts"
import { asFailure, maskedTarget, refused, unreachable, usage } from "../failure.ts"
import { inTime, Json, Timeout } from "../globals.ts"
import { documents, note, print, show } from "../output/write.ts"
import { plural } from "../output/text.ts"
import { laterRelease, storeTables, type Tables } from "../stores.ts"
import { parseTarget, type TargetParam } from "../target.ts"

const Status = Schema.Struct({
  applied: Schema.Array(Schema.String),
  pending: Schema.Array(Schema.String),
  unknown: Schema.Array(Schema.String)
})

const list = (names: ReadonlyArray<string>) => names.map((name) => `  ${name}`)

/** How often it is looked who is waited for while the time runs, and how often the same has to be found. */
const [looks, enough] = [5, 4]

/** Work on tables, which may take long, but waits no longer than `--timeout` for one who has locked them. */
const unlessLocked = Effect.fnUntraced(function* <A, E, R>({ blockers }: Tables, work: Effect.Effect<A, E, R>) {
  const timeout = Duration.toMillis(yield* Timeout)
  const watching = Effect.gen(function* () {
    let before = ""
    for (let seen = 0; seen < enough;) {
      yield* Effect.sleep(timeout / looks)
      const found = (yield* blockers).join(", ")
      seen = found === "" ? 0 : found === before ? seen + 1 : 1
      before = found
    }
    return yield* unreachable(`The tables are locked by ${before}: that has to end, or a longer --timeout is needed.`)
  })
  return yield* Effect.raceFirst(work, watching)
})

export const migrate = (url: TargetParam) =>
  Command.make(
    "migrate",
    {
      url,
      print: Flag.Boolean("print").pipe(
        Flag.withDescription("Prints the SQL that would run, and rolls it back: for whoever alone may change tables"),
        Flag.withDefault(false)
      ),
      check: Flag.Boolean("check").pipe(
        Flag.withDescription("Changes nothing, and ends with 5 where the tables are not those of this release"),
        Flag.withDefault(false)
      )
    },
    ({ check, url, ...flags }) =>
      Effect.gen(function* () {
        if (check && flags.print) return yield* usage("This takes --print or --check, and not both.")
        const mode = check || flags.print ? "look" : "make"
        const tables = yield* storeTables(yield* parseTarget(url), mode)
        const name = maskedTarget(url)
        const context = yield* inTime(name, Layer.build(tables.client))
        const work = Effect.gen(function* () {
          const before = yield* inTime(name, tables.status)
          if (before.unknown.length > 0) {
            return yield* laterRelease(before.unknown)
          }
          if (flags.print) {
            const statements =
              before.pending.length === 0 ? [] : yield* inTime(name, Effect.mapError(dryRun(tables.migrate), asFailure))
            if (statements.length === 0) yield* note("Nothing is to do: the tables are those of this release.")
            if (yield* Json) return yield* documents(Schema.String, statements)
            return yield* print(...statements.map((text) => `${text.replace(/;\s*$/, "")};\n`))
          }
          if (check) {
            yield* show(Status, before, () =>
              Effect.succeed(
                before.pending.length === 0
                  ? [`The tables are those of this release: ${plural(before.applied.length, "migration")}.`]
                  : ["To do:", ...list(before.pending)]
              )
            )
            if (before.pending.length > 0) return yield* refused(`${plural(before.pending.length, "migration")} to do.`)
            return
          }
          yield* tables.migrate
          yield* show(Status, yield* tables.status, () =>
            Effect.succeed(before.pending.length === 0 ? ["There was nothing to do."] : ["Done:", ...list(before.pending)])
          )
        })
        return yield* Effect.provideContext(unlessLocked(tables, work), context)
      }).pipe(Effect.scoped)
  ).pipe(Command.withDescription("Makes the tables of a store, or brings them up to date"))
