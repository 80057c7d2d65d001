/** `projections`: versions of views, and how one becomes the one that readers see. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ProjectionRow } from "../../operate/Operations.ts"
import { ask, given } from "../client.ts"
import { withClient } from "../connect.ts"
import { whole } from "../globals.ts"
import { rows } from "../output/write.ts"
import { count } from "../output/text.ts"
import type { TargetParam } from "../target.ts"
import { act, confirm, reason } from "./acting.ts"
import { stateColumn } from "./followers.ts"

const list = (url: TargetParam) =>
  Command.make("list", { url, projection: Argument.String("projection").pipe(Argument.optional) }, ({ projection, url }) =>
    ask((rpcs) => rpcs.Projections(given({ projection }))).pipe(
      Effect.flatMap((found) =>
        rows({
          schema: ProjectionRow,
          rows: found,
          columns: [
            { head: "PROJECTION", cell: ({ projection, version }) => `${projection}@${version}`, least: 14 },
            { head: "MODE", cell: ({ mode }) => mode },
            { head: "ACTIVE", cell: ({ active }) => (active ? "yes" : "-"), style: ({ active }) => (active ? "green" : "dim") },
            stateColumn(),
            { head: "LAG", align: "right", cell: ({ lag }) => count(lag) },
            { head: "POSITION", align: "right", cell: ({ position }) => count(position), style: () => "dim" },
            { head: "REBUILD TO", align: "right", cell: ({ target }) => (target === null ? "-" : count(target)) },
            { head: "TABLES", cell: ({ tables }) => tables.join(", ") || "-", least: 6 }
          ],
          none: "There are no projections."
        })
      ),
      withClient(url)
    )
  ).pipe(Command.withDescription("Lists the versions of projections"), Command.withAlias("ls"))

const version = Argument.String("name@version").pipe(
  Argument.filterMap(
    (text) => {
      const [, projection = "", version = ""] = /^(.+)@(\d+)$/.exec(text) ?? []
      return Option.map(projection === "" ? Option.none() : whole(version), (version) => ({ projection, version }))
    },
    () => "a projection with its version, as Sales@2"
  )
)

const acts = {
  rebuild: "Builds the view of a version anew, from the beginning of the log",
  switch: "Makes a version the one that readers see",
  drop: "Drops the tables of a version, and all that is known of it"
} as const
const tags = { rebuild: "Rebuild", switch: "Switch", drop: "Drop" } as const

const actOn = (url: TargetParam, verb: keyof typeof acts) =>
  Command.make(verb, { url, version, reason }, ({ reason, url, version }) =>
    Effect.gen(function* () {
      const name = `${version.projection}@${version.version}`
      if (verb === "drop") yield* confirm(`Drop the tables of ${name}?`)
      yield* act(name, { _tag: tags[verb], ...version }, reason)
    }).pipe(withClient(url, "act"))
  ).pipe(Command.withDescription(acts[verb]))

export const projections = (url: TargetParam) =>
  Command.make("projections").pipe(
    Command.withDescription("Views: their versions, and what can be done with them"),
    Command.withSubcommands([list(url), actOn(url, "rebuild"), actOn(url, "switch"), actOn(url, "drop")])
  )
