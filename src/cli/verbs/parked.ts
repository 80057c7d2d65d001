/** `parked`, `dead-letters`, `deadlines`: what was set aside, and what is to come. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { printable } from "../../internal/printable.ts"
import { type Act, DeadLetterRow, DeadlineRow, ParkedRow } from "../../operate/Operations.ts"
import { collect, given, more } from "../client.ts"
import { withClient } from "../connect.ts"
import { usage } from "../failure.ts"
import { Json, whole } from "../globals.ts"
import { payloadLine } from "../output/events.ts"
import { print, rows } from "../output/write.ts"
import { count } from "../output/text.ts"
import { since } from "../output/time.ts"
import type { TargetParam } from "../target.ts"
import { act, confirm, reason } from "./acting.ts"
import { after, limit, timeFlag } from "./flags.ts"

const all = Flag.Boolean("all").pipe(Flag.withDescription("All that there are now"), Flag.withDefault(false))

/** Exactly one of a thing and `--all`. */
const oneOrAll = <A>(one: Option.Option<A>, all: boolean, what: string) =>
  Option.isSome(one) === all ? Effect.fail(usage(`This takes ${what}, or --all.`)) : Effect.void

/** Everything that a list has, page after page. */
const everything = Number.MAX_SAFE_INTEGER

/** Does an act on each, one after the other, and stops at the first that fails. */
const actOnEach = <A>(
  found: ReadonlyArray<A>,
  none: string,
  actOf: (one: A) => { readonly name: string; readonly act: Act },
  why: Option.Option<string>
) =>
  found.length === 0
    ? Effect.flatMap(Json, (isJson) => (isJson ? Effect.void : print(none)))
    : Effect.forEach(
        found,
        (one) => {
          const { act: asked, name } = actOf(one)
          return act(name, asked, why)
        },
        { discard: true }
      )

const position = Argument.String("position").pipe(
  Argument.filterMap(whole, () => "a whole number"),
  Argument.optional
)

const parkedAct = (url: TargetParam, verb: "retry" | "discard", about: string) =>
  Command.make(
    verb,
    { url, follower: Argument.String("follower"), position, all, reason },
    ({ all, follower, position, reason, url }) =>
      Effect.gen(function* () {
        yield* oneOrAll(position, all, "the position of a parked event")
        const of = all
          ? `everything that ${follower} has parked`
          : `position ${Option.getOrElse(position, () => 0)} of ${follower}`
        if (verb === "discard") yield* confirm(`Forget ${of}?`)
        const positions = Option.isSome(position)
          ? [position.value]
          : (yield* collect(everything, Option.none(), (paged) => (rpcs) => rpcs.Parked({ follower, ...paged }))).items.map(
              ({ position }) => position
            )
        const _tag = verb === "retry" ? "Retry" : "Discard"
        yield* actOnEach(
          positions,
          `${printable(follower)} has nothing parked.`,
          (position) => ({
            name: `${follower} ${position}`,
            act: { _tag, follower, position }
          }),
          reason
        )
      }).pipe(withClient(url, "act"))
  ).pipe(Command.withDescription(about))

export const parked = (url: TargetParam) =>
  Command.make("parked").pipe(
    Command.withDescription("Events that a follower has passed over"),
    Command.withSubcommands([
      Command.make(
        "list",
        { url, follower: Argument.String("follower").pipe(Argument.optional), limit: limit(50), after },
        ({ after, follower, limit, url }) =>
          Effect.gen(function* () {
            const now = yield* DateTime.now
            const { items, next } = yield* collect(
              limit,
              after,
              (paged) => (rpcs) => rpcs.Parked({ ...given({ follower }), ...paged })
            )
            yield* rows({
              schema: ParkedRow,
              rows: items,
              columns: [
                { head: "FOLLOWER", cell: ({ follower }) => follower, least: 12 },
                { head: "POSITION", align: "right", cell: ({ position }) => count(position) },
                { head: "TYPE", cell: ({ type }) => type, least: 10, style: () => "bold" },
                { head: "STREAM", cell: ({ stream }) => stream, least: 10, style: () => "cyan" },
                { head: "TRIES", align: "right", cell: ({ attempts }) => count(attempts) },
                { head: "PARKED", cell: ({ parkedAt }) => since(parkedAt, now), style: () => "dim" },
                { head: "CAUSE", cell: ({ cause }) => cause, least: 12, style: () => "red" }
              ],
              none: "Nothing is parked."
            })
            yield* more(next)
          }).pipe(withClient(url))
      ).pipe(Command.withDescription("Lists parked events, of one follower or of all"), Command.withAlias("ls")),
      parkedAct(url, "retry", "Hands a parked event to its handler once more, and forgets it if that succeeds"),
      parkedAct(url, "discard", "Forgets a parked event")
    ])
  )

const letterAct = (url: TargetParam, verb: "retry" | "discard", about: string) =>
  Command.make(
    verb,
    { url, group: Argument.String("group"), id: Argument.String("id").pipe(Argument.optional), all, reason },
    ({ all, group, id, reason, url }) =>
      Effect.gen(function* () {
        yield* oneOrAll(id, all, "the id of a dead letter")
        if (verb === "discard") yield* confirm(`Forget ${Option.getOrElse(id, () => "all dead letters")} of ${group}?`)
        const ids = Option.isSome(id)
          ? [id.value]
          : (yield* collect(everything, Option.none(), (paged) => (rpcs) => rpcs.DeadLetters({ group, ...paged }))).items.map(
              ({ id }) => id
            )
        const _tag = verb === "retry" ? "RetryLetter" : "DiscardLetter"
        yield* actOnEach(
          ids,
          `${printable(group)} has no dead letters.`,
          (id) => ({
            name: `${group} ${id}`,
            act: { _tag, group, id }
          }),
          reason
        )
      }).pipe(withClient(url, "act"))
  ).pipe(Command.withDescription(about))

export const deadLetters = (url: TargetParam) =>
  Command.make("dead-letters").pipe(
    Command.withDescription("Messages that a consumer group could not handle"),
    Command.withSubcommands([
      Command.make(
        "list",
        { url, group: Argument.String("group").pipe(Argument.optional), limit: limit(50), after },
        ({ after, group, limit, url }) =>
          Effect.gen(function* () {
            const now = yield* DateTime.now
            const { items, next } = yield* collect(
              limit,
              after,
              (paged) => (rpcs) => rpcs.DeadLetters({ ...given({ group }), ...paged })
            )
            yield* rows({
              schema: DeadLetterRow,
              rows: items,
              columns: [
                { head: "GROUP", cell: ({ group }) => group, least: 10 },
                { head: "ID", cell: ({ id }) => id, least: 12 },
                { head: "TYPE", cell: ({ type }) => type, least: 10, style: () => "bold" },
                { head: "TRIES", align: "right", cell: ({ attempts }) => count(attempts) },
                { head: "PARKED", cell: ({ parkedAt }) => since(parkedAt, now), style: () => "dim" },
                { head: "CAUSE", cell: ({ cause }) => cause, least: 12, style: () => "red" },
                { head: "PAYLOAD", cell: ({ payload }) => payloadLine(payload), least: 8 }
              ],
              none: "There are no dead letters."
            })
            yield* more(next)
          }).pipe(withClient(url))
      ).pipe(Command.withDescription("Lists dead letters, of one group or of all"), Command.withAlias("ls")),
      letterAct(url, "retry", "Hands a dead letter to its handler once more, and forgets it if that succeeds"),
      letterAct(url, "discard", "Forgets a dead letter")
    ])
  )

export const deadlines = (url: TargetParam) =>
  Command.make(
    "deadlines",
    {
      url,
      process: Flag.String("process").pipe(Flag.withDescription("Only those of this process manager"), Flag.optional),
      dueBefore: timeFlag("due-before", "Only those that come before then"),
      limit: limit(50),
      after
    },
    ({ after, dueBefore, limit, process, url }) =>
      Effect.gen(function* () {
        const now = yield* DateTime.now
        const { items, next } = yield* collect(
          limit,
          after,
          (paged) => (rpcs) => rpcs.Deadlines({ ...given({ process, dueBefore }), ...paged })
        )
        yield* rows({
          schema: DeadlineRow,
          rows: items,
          columns: [
            {
              head: "DUE",
              cell: ({ due }) => since(due, now),
              style: ({ due }) => (DateTime.isLessThan(due, now) ? "red" : undefined)
            },
            { head: "TYPE", cell: ({ type }) => type, least: 10, style: () => "bold" },
            { head: "PROCESS", cell: ({ process }) => process, least: 10 },
            { head: "STREAM", cell: ({ stream }) => stream, least: 12, style: () => "cyan" },
            { head: "SET AT", align: "right", cell: ({ position }) => count(position), style: () => "dim" }
          ],
          none: "No deadline is set."
        })
        yield* more(next)
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Lists deadlines that are set, by their time"))
