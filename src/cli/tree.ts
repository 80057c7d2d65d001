/** All verbs. */
import * as Command from "effect/cli/Command"
import { all } from "./globals.ts"
import type { TargetParam } from "./target.ts"
import { doctor, verify } from "./verbs/checking.ts"
import { followerActs, followers, lag } from "./verbs/followers.ts"
import { deadLetters, deadlines, parked } from "./verbs/parked.ts"
import { inspect } from "./verbs/inspect.ts"
import { mcp } from "./verbs/mcp.ts"
import { migrate } from "./verbs/migrate.ts"
import { projections } from "./verbs/projections.ts"
import { copy, exportEvents, importEvents } from "./verbs/transfer.ts"
import { schema } from "./verbs/schema.ts"
import { read, state, streams, tail, trail } from "./verbs/streams.ts"

export const makeTree = (url: TargetParam, version: string) =>
  Command.make("eventfold").pipe(
    Command.withDescription("Looks at a store of events and at what follows it, and acts on it"),
    Command.withSubcommands([
      { group: "The log", commands: [streams(url), read(url), tail(url), trail(url), state(url)] },
      {
        group: "What follows it",
        commands: [followers(url), lag(url), followerActs(url), parked(url), deadLetters(url), deadlines(url), projections(url)]
      },
      {
        group: "The store",
        commands: [doctor(url), verify(url), copy, exportEvents(url), importEvents(url), migrate(url), schema(url, version)]
      },
      { group: "Others who look", commands: [inspect(url), mcp(url, version)] }
    ]),
    Command.withGlobalFlags(all)
  )
