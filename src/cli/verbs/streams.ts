/** `streams`, `read`, `tail`, `trail`, `state`: what stands in the log. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { EventDetail, EventRow, StateAt, StreamRow } from "../../operate/Operations.ts"
import { printable } from "../../internal/printable.ts"
import { ask, collect, followForEver, given, more } from "../client.ts"
import { withClient } from "../connect.ts"
import { notFound, usage } from "../failure.ts"
import { Json, whole, wholeFlag } from "../globals.ts"
import { difference } from "../output/difference.ts"
import { eventColumns, eventLine, payloadLine, tree } from "../output/events.ts"
import { documents, painter, print, rows, show, Streams } from "../output/write.ts"
import { count } from "../output/text.ts"
import { stamp } from "../output/time.ts"
import type { TargetParam } from "../target.ts"
import { after, limit, timeFlag } from "./flags.ts"

const text = (name: string, about: string) => Flag.String(name).pipe(Flag.withDescription(about), Flag.optional)

export const streams = (url: TargetParam) =>
  Command.make(
    "streams",
    {
      url,
      category: text("category", "Only streams of this category"),
      prefix: text("prefix", "Only streams whose names begin so"),
      newest: Flag.Boolean("newest").pipe(Flag.withDescription("Those first that changed last"), Flag.withDefault(false)),
      limit: limit(50),
      after
    },
    ({ after, category, limit, newest, prefix, url }) =>
      Effect.gen(function* () {
        const order = newest ? ("newest" as const) : ("name" as const)
        const { items, next } = yield* collect(
          limit,
          after,
          (paged) => (rpcs) => rpcs.Streams({ ...given({ category, prefix }), order, ...paged })
        )
        yield* rows({
          schema: StreamRow,
          rows: items,
          columns: [
            { head: "STREAM", cell: ({ stream }) => stream, least: 20, style: () => "cyan" },
            { head: "CATEGORY", cell: ({ category }) => category, least: 10 },
            { head: "EVENTS", align: "right", cell: ({ version }) => count(version) },
            { head: "POSITION", align: "right", cell: ({ position }) => count(position), style: () => "dim" }
          ],
          none: "There are no such streams."
        })
        yield* more(next)
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Lists streams"))

/** One event with everything that is known of it. */
const showDetail = (detail: EventDetail) =>
  show(EventDetail, detail, ({ paint, width }) =>
    Effect.sync(() => {
      const { event, metadata } = detail
      const line = (name: string, value: string) => `${paint("dim", name.padEnd(11))}  ${printable(value)}`
      const related = (name: string, events: ReadonlyArray<EventRow>) =>
        events.length === 0 ? [] : [paint("dim", name), ...events.map((event) => `  ${eventLine(event, width - 2, paint)}`)]
      return [
        `${paint("bold", printable(event.type))} at ${count(event.position)}`,
        line("stream", `${event.stream} v${event.version}`),
        line("id", event.id),
        line("recorded", stamp(event.recordedAt)),
        line("schema", `version ${event.schemaVersion}${event.published ? ", published" : ""}`),
        ...(event.tags.length === 0 ? [] : [line("tags", event.tags.join(" "))]),
        ...(event.by === null ? [] : [line("by", event.by)]),
        ...(event.correlationId === null ? [] : [line("correlation", event.correlationId)]),
        ...(event.problem === null ? [] : [paint("red", line("problem", event.problem))]),
        ...(event.payload._tag === "Shown"
          ? JSON.stringify(event.payload.value, null, 2)
              .split("\n")
              .map((text, index) => `${(index === 0 ? "payload" : "").padEnd(11)}  ${printable(text)}`)
          : [line("payload", payloadLine(event.payload))]),
        line("metadata", payloadLine(metadata)),
        ...related("caused by", detail.cause === null ? [] : [detail.cause]),
        ...related("caused", detail.effects)
      ]
    })
  )

/** Shows an event, where there is one. Whether there is. */
const showEvent = (asked: { readonly id: string } | { readonly at: number }) =>
  ask((rpcs) => rpcs.Event(asked)).pipe(
    Effect.flatMap((detail) => Effect.as(showDetail(detail), true)),
    Effect.catchTag("NotFoundError", () => Effect.succeed(false))
  )

interface Part {
  readonly from: Option.Option<number>
  readonly backward: boolean
  readonly limit: number
}

/** Shows the events of a stream, where there is one. Whether there is. */
const showStream = Effect.fnUntraced(function* (stream: string, { backward, from, limit }: Part) {
  const direction = backward ? ("backward" as const) : ("forward" as const)
  const page = yield* ask((rpcs) => rpcs.StreamEvents({ stream, direction, ...given({ from }), limit })).pipe(
    Effect.catchTag("NotFoundError", () => Effect.succeed(undefined))
  )
  if (page === undefined || (page.items.length === 0 && Option.isNone(from))) return false
  yield* rows({ schema: EventRow, rows: page.items, columns: eventColumns, none: `${printable(stream)} has no events there.` })
  const last = page.items.at(-1)
  if (page.next !== null && last !== undefined) yield* more(String(last.version + (backward ? -1 : 1)), "from")
  return true
})

const missing = {
  any: "There is no stream and no event",
  stream: "There is no stream",
  position: "There is no event at position",
  event: "There is no event with the id"
} as const

/** What a word names: a position, where it is a number and no part of a stream is asked for; else a stream, else the id of an event. */
const readOne = Effect.fnUntraced(function* (what: string, kind: keyof typeof missing, part: Part) {
  const position = whole(what)
  const isPart = part.backward || Option.isSome(part.from)
  if (kind === "position" && Option.isNone(position)) return yield* usage("A position is a whole number.")
  if (Option.isSome(position) && (kind === "position" || (kind === "any" && !isPart))) {
    if (yield* showEvent({ at: position.value })) return
  }
  if ((kind === "any" || kind === "stream") && (yield* showStream(what, part))) return
  if ((kind === "any" || kind === "event") && (yield* showEvent({ id: what }))) return
  return yield* Effect.fail(notFound(`${missing[kind]} ${printable(what)}.`))
})

export const read = (url: TargetParam) =>
  Command.make(
    "read",
    {
      url,
      what: Argument.String("stream | position | event id"),
      as: Flag.Literals("as", ["stream", "position", "event"]).pipe(
        Flag.withDescription(
          "What it names (default: a number is a position, if there is one; else it is a stream, else the id of an event)"
        ),
        Flag.withDefault("any" as const)
      ),
      from: wholeFlag("from").pipe(Flag.withDescription("The version that it begins at"), Flag.optional),
      backward: Flag.Boolean("backward").pipe(Flag.withDescription("The newest first"), Flag.withDefault(false)),
      limit: limit(50)
    },
    ({ as, url, what, ...part }) => readOne(what, as, part).pipe(withClient(url))
  ).pipe(Command.withDescription("Shows the events of a stream, or one event with its cause and effects"))

const filterFlags = {
  types: Flag.String("type").pipe(Flag.withDescription("Only events of this type; may be repeated"), Flag.atLeast(0)),
  categories: Flag.String("category").pipe(
    Flag.withDescription("Only streams of this category; may be repeated"),
    Flag.atLeast(0)
  ),
  tags: Flag.String("tag").pipe(Flag.withDescription("Only events with this tag; may be repeated"), Flag.atLeast(0)),
  since: timeFlag("since", "Only what was recorded since then")
}

export const tail = (url: TargetParam) =>
  Command.make(
    "tail",
    {
      url,
      ...filterFlags,
      follow: Flag.Boolean("follow").pipe(
        Flag.withAlias("f"),
        Flag.withDescription("Goes on with what comes, until it is interrupted"),
        Flag.withDefault(false)
      ),
      limit: limit(20)
    },
    ({ categories, limit, since, tags, types, url, ...flags }) =>
      Effect.gen(function* () {
        const filter = {
          ...(types.length > 0 && { types }),
          ...(categories.length > 0 && { categories }),
          ...(tags.length > 0 && { tags }),
          ...given({ since })
        }
        const isJson = yield* Json
        const paint = yield* painter
        const { columns } = yield* Streams
        const write = (events: ReadonlyArray<EventRow>) =>
          isJson ? documents(EventRow, events) : print(...events.map((event) => eventLine(event, columns, paint)))
        // What comes after the head is told by the tail: asked for first, so that nothing is left out between the two.
        const { head } = yield* ask((rpcs) => rpcs.Overview({}))
        const { items } = yield* collect(
          limit,
          Option.none(),
          (paged) => (rpcs) => rpcs.Events({ filter, direction: "backward", ...paged })
        )
        yield* write(items.filter(({ position }) => position <= head).toReversed())
        if (flags.follow) {
          const { since: _, ...wanted } = filter
          // It may be silent for ever: it has no time to answer in.
          yield* followForEver((rpcs) => rpcs.Tail({ after: head, filter: wanted }), write)
        }
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Shows the newest events, and with -f those that come"))

export const trail = (url: TargetParam) =>
  Command.make(
    "trail",
    { url, id: Argument.String("correlation id | event id"), limit: limit(200), after },
    ({ after, id, limit, url }) =>
      Effect.gen(function* () {
        const follow = (correlationId: string) =>
          collect(limit, after, (paged) => (rpcs) => rpcs.Trail({ correlationId, ...paged }))
        let found = yield* follow(id)
        if (found.items.length === 0 && Option.isNone(after)) {
          const { event } = yield* ask((rpcs) => rpcs.Event({ id })).pipe(
            Effect.catchTag("NotFoundError", () =>
              Effect.fail(notFound(`There is no conversation and no event ${printable(id)}.`))
            )
          )
          if (event.correlationId === null) {
            return yield* Effect.fail(usage(`The event ${printable(id)} has no correlation id: it stands alone.`))
          }
          found = yield* follow(event.correlationId)
        }
        if (yield* Json) yield* documents(EventRow, found.items)
        else yield* print(...tree(found.items, (yield* Streams).columns, yield* painter))
        yield* more(found.next)
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Shows a conversation as a tree: what caused what, over all streams"))

/** What `state --json` gives: the state with the one before it. */
const StateDocument = Schema.Struct({
  aggregate: Schema.String,
  stream: Schema.String,
  before: Schema.NullOr(Schema.Json),
  ...StateAt.fields
})

export const state = (url: TargetParam) =>
  Command.make(
    "state",
    {
      url,
      stream: Argument.String("stream"),
      version: wholeFlag("version").pipe(
        Flag.withDescription("After this event of the stream (default: the newest)"),
        Flag.optional
      ),
      at: timeFlag("at", "As it was then"),
      diff: Flag.Boolean("diff").pipe(Flag.withDescription("Marks what the event has changed"), Flag.withDefault(false))
    },
    ({ at, diff, stream, url, version }) =>
      Effect.gen(function* () {
        if (Option.isSome(version) && Option.isSome(at)) return yield* usage("This takes --version or --at, and not both.")
        const window = Option.map(version, (number) => ({ from: number, to: number }))
        const states = yield* ask((rpcs) => rpcs.States({ stream, ...Option.getOrElse(window, () => given({ at })) }))
        const found = states.states.at(-1)
        if (found === undefined) return yield* Effect.fail(notFound(`${printable(stream)} has no such version.`))
        const before = states.states.at(-2)?.state ?? states.before
        const document = { aggregate: states.aggregate, stream, before, ...found }
        yield* show(StateDocument, document, ({ paint, width }) =>
          Effect.sync(() => {
            const { event, problem } = found
            const by = event.by === null ? "" : ` by ${event.by}`
            const head = `${stream} at version ${found.version}: ${event.type}, ${stamp(event.recordedAt)}${by}, position ${event.position}`
            return [
              paint("bold", printable(head)),
              ...(problem === null
                ? difference(diff ? (before ?? {}) : undefined, found.state, width, paint)
                : [paint("red", printable(problem))])
            ]
          })
        )
      }).pipe(withClient(url))
  ).pipe(Command.withDescription("Shows the state of an aggregate after an event"))
