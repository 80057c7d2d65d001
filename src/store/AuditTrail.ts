/**
 * The audit trail: events as lines that a person can read. Who did what and when, and what followed from it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { isRecordOfCommand } from "../definitions/metadata.ts"
import { hidden } from "../definitions/personal.ts"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { writeJson } from "../internal/exactJson.ts"
import { printable } from "../internal/printable.ts"
import type { EventStoreError } from "./errors.ts"
import type { ReadAllOptions, ReadOptions } from "./model.ts"
import { EventStore } from "./service.ts"

/**
 * How an event is told.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Who did it; `undefined` for nobody in particular. Default: `metadata.by`. */
  readonly who?: ((metadata: Metadata) => string | undefined) | undefined
  /**
   * What an event says beside its type. Default: its payload as JSON, save what is personal; for the notes of process managers the type of the event or
   * deadline that they are about, and when it is due; for a kept answer whether the command succeeded.
   */
  readonly what?: ((event: RecordedEvent) => string) | undefined
}

/**
 * One event as one line: when it was recorded, where it stands, its type, by whom, and what it says.
 *
 * Line breaks, other control characters and characters that turn the direction of text are written as `\u…`, so that no event can
 * forge a line.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatLine = (event: RecordedEvent, options?: Options): string => {
  const by = (options?.who ?? defaultWho)(event.metadata)
  return join(
    timeOf(event),
    placeOf(event),
    event.type,
    by === undefined ? "" : `by ${by}`,
    (options?.what ?? defaultWhat)(event)
  )
}

/**
 * Events as a tree, one line each: what an event or command caused stands below it, in the order of positions. Whose cause is not
 * among them stands at the margin.
 *
 * Records of commands, and events published on the bus, go without their place in the store; who did it is said where it is not the
 * one who did the cause.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatTree = (events: Iterable<RecordedEvent>, options?: Options): ReadonlyArray<string> => {
  const { what = defaultWhat, who = defaultWho } = options ?? {}
  const byId = new Map<string, RecordedEvent>()
  const effects = new Map<RecordedEvent | undefined, Array<RecordedEvent>>()
  for (const event of Array.from(events).sort((a, b) => a.position - b.position)) {
    // A cause comes before its effect, so whoever names another forms no circle.
    const cause = byId.get(event.metadata.causationId ?? "")
    byId.set(event.id, event)
    const siblings = effects.get(cause)
    if (siblings === undefined) effects.set(cause, [event])
    else siblings.push(event)
  }
  const lines: Array<string> = []
  interface Branch {
    readonly event: RecordedEvent
    readonly cause: RecordedEvent | undefined
    /** What stands before the line, and before the lines of its effects. */
    readonly indent: string
    readonly below: string
  }
  const branchesOf = (cause: RecordedEvent | undefined, indent: string): ReadonlyArray<Branch> =>
    (effects.get(cause) ?? []).map((event, index, all) => {
      const last = index === all.length - 1
      if (cause === undefined) return { event, cause, indent: "", below: "" }
      return { event, cause, indent: `${indent}${last ? "└─ " : "├─ "}`, below: `${indent}${last ? "   " : "│  "}` }
    })
  // The branches that are still to be told, the next one last: however deep the tree is, nothing is nested here.
  const open = branchesOf(undefined, "").toReversed()
  for (let branch = open.pop(); branch !== undefined; branch = open.pop()) {
    const { below, cause, event, indent } = branch
    const branchesBelow = branchesOf(event, below).toReversed()
    const by = who(event.metadata)
    lines.push(
      join(
        timeOf(event),
        `${indent}${event.type}`,
        event.stream.startsWith("$bus-") ? "" : placeOf(event),
        by === undefined || (cause !== undefined && by === who(cause.metadata)) ? "" : `by ${by}`,
        what(event)
      )
    )
    for (const below of branchesBelow) open.push(below)
  }
  return lines
}

/**
 * Everything that bears one correlation id, as a tree: commands, what they caused in whichever streams, and what process managers
 * made of it. The conversation is in memory as a whole.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Aggregate, AuditTrail, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited],
 *   initial: 0,
 *   evolve: { Deposited: (balance, { amount }) => balance + amount }
 * })
 * const Deposit = Command.make("Deposit", { payload: { account: Schema.String, amount: Schema.Int } })
 * const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
 *   Effect.asVoid(Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])))
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* MessageBus.execute(Deposit, { account: "ada", amount: 5 }, { correlationId: "c-1", metadata: { by: "greta" } })
 *   return yield* AuditTrail.conversation("c-1")
 * })
 *
 * const Live = DepositLive.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, TestClock.layer()))
 * )
 * await Effect.runPromise(Effect.provide(program, Live))
 * // => [
 * //   '1970-01-01T00:00:00.000Z  Deposit  by greta',
 * //   '1970-01-01T00:00:00.000Z  └─ Deposited  Account-ada v1  {"amount":5}']
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const conversation = (
  correlationId: string,
  options?: Options
): Effect.Effect<ReadonlyArray<string>, EventStoreError, EventStore> =>
  EventStore.use((store) =>
    Effect.map(Stream.runCollect(store.readAll({ filter: { correlationId } })), (events) => formatTree(events, options))
  )

/**
 * The events of one stream, a line each.
 *
 * @category accessors
 * @since 0.1.0
 */
export const stream = (name: string, options?: Options & ReadOptions): Stream.Stream<string, EventStoreError, EventStore> =>
  list((store) => store.read(name, options), options)

/**
 * The events of the whole store, or those that a filter lets pass, a line each.
 *
 * @category accessors
 * @since 0.1.0
 */
export const all = (options?: Options & ReadAllOptions): Stream.Stream<string, EventStoreError, EventStore> =>
  list((store) => store.readAll(options), options)

const list = (
  read: (store: EventStore["Service"]) => Stream.Stream<RecordedEvent, EventStoreError>,
  options: Options | undefined
) => Stream.unwrap(EventStore.useSync((store) => Stream.map(read(store), (event) => formatLine(event, options))))

const defaultWho = ({ by }: Metadata): string | undefined => (typeof by === "string" ? by : undefined)

const defaultWhat = ({ metadata, payload, type }: RecordedEvent): string => {
  // Of most commands the name alone is recorded.
  if (payload === null && isRecordOfCommand(metadata)) return ""
  if (!type.startsWith("$")) return writeJson(hidden(payload))
  const {
    command,
    due,
    outcome,
    type: about
  } = payload as Readonly<Record<"command" | "due" | "outcome" | "type", string | undefined>>
  if (command !== undefined) return `${outcome} of ${command}`
  return `${about}${due === undefined ? "" : ` at ${due}`}`
}

const timeOf = ({ recordedAt }: RecordedEvent): string => DateTime.formatIso(recordedAt)
const placeOf = ({ stream, version }: RecordedEvent): string => `${stream} v${version}`

const join = (...parts: ReadonlyArray<string>): string => printable(parts.filter((part) => part !== "").join("  "))
