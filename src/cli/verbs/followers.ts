/** `followers`, `lag`, `follower`: what follows the log. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { printable } from "../../internal/printable.ts"
import { Follower } from "../../operate/Operations.ts"
import { Client, follow } from "../client.ts"
import { withClient } from "../connect.ts"
import { Json } from "../globals.ts"
import { print, rows, Streams } from "../output/write.ts"
import type { Column, Style } from "../output/table.ts"
import { count } from "../output/text.ts"
import { since } from "../output/time.ts"
import { quoted, type TargetParam } from "../target.ts"
import { act, confirm, reason } from "./acting.ts"

type State = Follower["state"]

const styleOf: Partial<Record<State, Style>> = {
  live: "green",
  "catching-up": "cyan",
  "backing-off": "yellow",
  paused: "yellow",
  halted: "red"
}

/** The state as a table shows it. */
export const stateColumn = <Row extends { readonly state: State }>(): Column<Row> => ({
  head: "STATE",
  cell: ({ state }) => state,
  style: ({ state }) => styleOf[state]
})

const urgency: ReadonlyArray<State> = ["halted", "backing-off", "paused", "stopped", "starting", "catching-up"]
const rankOf = ({ state }: Follower): number => {
  const rank = urgency.indexOf(state)
  return rank < 0 ? urgency.length : rank
}

/** Those first that need somebody; among equals by name. */
const byNeed = (followers: ReadonlyArray<Follower>): ReadonlyArray<Follower> =>
  followers.toSorted((one, other) => rankOf(one) - rankOf(other) || one.name.localeCompare(other.name))

const columnsAt = (now: DateTime.Utc): ReadonlyArray<Column<Follower>> => [
  { head: "FOLLOWER", cell: ({ name }) => name, least: 14 },
  stateColumn(),
  { head: "LAG", align: "right", cell: ({ lag }) => count(lag), style: ({ lag }) => (lag > 1000 ? "yellow" : undefined) },
  { head: "POSITION", align: "right", cell: ({ position }) => count(position), style: () => "dim" },
  {
    head: "PARKED",
    align: "right",
    cell: ({ parked }) => count(parked),
    style: ({ parked }) => (parked > 0 ? "red" : undefined)
  },
  { head: "SINCE", cell: (row) => (row.since === null ? "-" : since(row.since, now)), style: () => "dim" },
  { head: "OWNER", cell: ({ owner }) => owner ?? "-", least: 8, style: () => "dim" }
]

/** Why it stands still, beneath its row. */
const failureOf = ({ failure }: Follower): ReadonlyArray<string> => {
  if (failure === null) return []
  const place = failure.position === null ? "" : `at ${count(failure.position)} ${failure.type ?? ""} ${failure.stream ?? ""}: `
  const tries = failure.attempts > 1 ? ` (tried ${failure.attempts} times)` : ""
  return [`${place}${failure.cause}${tries}`]
}

const showFollowers = Effect.fnUntraced(function* (found: ReadonlyArray<Follower>) {
  const now = yield* DateTime.now
  const sorted = byNeed(found)
  yield* rows({ schema: Follower, rows: sorted, columns: columnsAt(now), none: "Nothing follows this store.", below: failureOf })
  const still = sorted.filter(({ state }) => state === "halted" || state === "paused")
  const [first] = still
  if (first === undefined || (yield* Json)) return
  const { hint } = yield* Client
  const stand = still.length === 1 ? "stands" : "stand"
  yield* print(
    `${still.length} of ${found.length} ${stand} still.`,
    `Next: eventfold follower resume ${hint} ${quoted(printable(first.name))}`
  )
})

export const followers = (url: TargetParam) =>
  Command.make(
    "followers",
    {
      url,
      watch: Flag.Boolean("watch").pipe(
        Flag.withDescription("Shows them anew each second, until it is interrupted"),
        Flag.withDefault(false)
      )
    },
    ({ url, watch }) =>
      Effect.gen(function* () {
        const { isAnimated, out } = yield* Streams
        const isJson = yield* Json
        // On a terminal each picture takes the place of the one before.
        const clear = watch && isAnimated && !isJson ? out("\u001b[H\u001b[J") : Effect.void
        yield* follow(
          (rpcs) => rpcs.Followers(watch ? { every: 1000 } : {}),
          (found) => Effect.andThen(clear, showFollowers(found))
        )
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Lists what follows the log: state, lag, owner, and why it stands still"))

/** What `lag --json` gives. */
const Lag = Schema.Struct({ name: Schema.String, lag: Schema.Int, rate: Schema.Finite, position: Schema.Int })

export const lag = (url: TargetParam) =>
  Command.make("lag", { url }, ({ url }) =>
    follow(
      (rpcs) => rpcs.Followers({}),
      (found) =>
        rows({
          schema: Lag,
          rows: found.toSorted((one, other) => other.lag - one.lag),
          columns: [
            { head: "FOLLOWER", cell: ({ name }) => name, least: 14 },
            {
              head: "LAG",
              align: "right",
              cell: ({ lag }) => count(lag),
              style: ({ lag }) => (lag > 1000 ? "yellow" : undefined)
            },
            { head: "RATE", align: "right", cell: ({ rate }) => (rate > 0 ? `${count(Math.round(rate))}/s` : "-") },
            { head: "POSITION", align: "right", cell: ({ position }) => count(position), style: () => "dim" }
          ],
          none: "Nothing follows this store."
        })
    ).pipe(withClient(url))
  ).pipe(Command.withDescription("How many positions each follower is behind: also those of events that it does not want"))

const follower = Argument.String("follower")

export const followerActs = (url: TargetParam) =>
  Command.make("follower").pipe(
    Command.withDescription("Pauses, resumes or removes a follower, in whatever process it runs"),
    Command.withSubcommands([
      Command.make("pause", { url, follower, reason }, ({ follower, reason, url }) =>
        act(follower, { _tag: "Pause", follower }, reason).pipe(withClient(url, "act"))
      ).pipe(Command.withDescription("Stops it after the event in hand, until it is resumed")),
      Command.make("resume", { url, follower, reason }, ({ follower, reason, url }) =>
        act(follower, { _tag: "Resume", follower }, reason).pipe(withClient(url, "act"))
      ).pipe(Command.withDescription("Lets it go on after a pause, or after it has halted")),
      Command.make("remove", { url, follower, reason }, ({ follower, reason, url }) =>
        confirm(`Forget the checkpoint of ${follower}, and what it has parked?`).pipe(
          Effect.andThen(act(follower, { _tag: "RemoveFollower", follower }, reason)),
          withClient(url, "act")
        )
      ).pipe(Command.withDescription("Forgets the checkpoint of a follower that nobody runs, and what it has parked"))
    ])
  )
