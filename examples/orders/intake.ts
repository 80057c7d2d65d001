/** How commands come in: a file with one JSON document a line. */
import { Clock, DateTime, Effect, Result, Schema, SchemaIssue } from "effect"
import { EventStore, MessageBus, UnitOfWork } from "eventfold"
import { AddLine, CancelOrder, PlaceOrder, ReceivePayment, ReceiveStock, ShipOrder } from "./application.ts"

/** A line: when it was said, by whom, and what the shop is asked to do. */
const lineOf = <const Tag extends string, Payload extends Schema.Top>(command: {
  readonly _tag: Tag
  readonly payloadSchema: Payload
}) =>
  Schema.Struct({
    at: Schema.DateTimeUtcFromString,
    by: Schema.NonEmptyString,
    command: Schema.Literal(command._tag),
    payload: command.payloadSchema
  })

const Line = Schema.Union([
  lineOf(ReceiveStock),
  lineOf(PlaceOrder),
  lineOf(AddLine),
  lineOf(ReceivePayment),
  lineOf(ShipOrder),
  lineOf(CancelOrder)
])
type Line = typeof Line.Type

/** Which of the commands it is comes first, so that what is said of a wrong line is about that command. */
const Head = Schema.Struct({
  command: Schema.Literals(Line.members.map(({ fields }) => fields.command.literal)).annotate({
    expected: "a command of the shop"
  })
})

interface Malformed {
  readonly _tag: "Malformed"
  readonly line: number
  readonly problem: string
}

interface Understood {
  readonly _tag: "Understood"
  readonly line: number
  readonly command: Line
}

/** What became of a line. */
export type Outcome =
  | Malformed
  | { readonly _tag: "Succeeded"; readonly line: number; readonly command: Line["command"] }
  | { readonly _tag: "Rejected"; readonly line: number; readonly command: Line["command"]; readonly error: Rejection }

/**
 * Executes the commands of a file in order; those of one moment at once, as they came in. A line that is rejected or malformed is
 * an outcome, and the rest goes on; it fails when the store does.
 *
 * `prefix` is put before each id of an order, a payment or an article, so that the same file can be run again.
 */
export const executeAll = (
  text: string,
  options: {
    readonly prefix: string
    readonly onOutcome: (outcome: Outcome, of: number) => Effect.Effect<void>
    /** A command lost a race and is tried again. */
    readonly onConflict: Effect.Effect<void>
  }
) =>
  Effect.gen(function* () {
    const lines = parse(text, options.prefix)
    for (const moment of byMoment(lines)) {
      yield* Effect.forEach(
        moment,
        Effect.fnUntraced(function* (line) {
          const outcome = line._tag === "Malformed" ? line : yield* execute(line, options.onConflict)
          yield* options.onOutcome(outcome, lines.length)
        }),
        { concurrency: "unbounded", discard: true }
      )
    }
  })

// reading

const parse = (text: string, prefix: string): ReadonlyArray<Malformed | Understood> =>
  text.split("\n").flatMap((json, index) => (json.trim() === "" ? [] : [parseLine(json, index + 1, prefix)]))

const parseLine = (json: string, line: number, prefix: string): Malformed | Understood => {
  const malformed = (problem: string): Malformed => ({ _tag: "Malformed", line, problem })
  let value: unknown
  try {
    value = JSON.parse(json, (key, value) => (ids.has(key) && typeof value === "string" ? prefix + value : value))
  } catch (error) {
    return malformed(`not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const decoded = Result.flatMap(decodeHead(value, parseOptions), () => decodeLine(value, parseOptions))
  return Result.match(decoded, {
    onSuccess: (command): Malformed | Understood => ({ _tag: "Understood", line, command }),
    onFailure: ({ issue }) => malformed(formatIssues(issue).issues.map(describe).join("; "))
  })
}

const ids = new Set(["order", "payment", "sku"])
const decodeHead = Schema.decodeUnknownResult(Head)
const decodeLine = Schema.decodeUnknownResult(Line)
const parseOptions = { errors: "all", reportInput: true } as const
const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

const describe = ({ message, path = [] }: ReturnType<typeof formatIssues>["issues"][number]) =>
  path.length === 0 ? message : `${path.join(".")}: ${message}`

/** Neighbours that were said at the same moment. */
const byMoment = (lines: ReadonlyArray<Malformed | Understood>): ReadonlyArray<ReadonlyArray<Malformed | Understood>> => {
  const moments: Array<Array<Malformed | Understood>> = []
  for (const line of lines) {
    const last = moments.at(-1)
    const before = last?.[0]
    const together =
      line._tag === "Understood" && before?._tag === "Understood" && DateTime.Equivalence(line.command.at, before.command.at)
    if (last !== undefined && together) last.push(line)
    else moments.push([line])
  }
  return moments
}

// executing

const execute = ({ command, line }: Understood, onConflict: Effect.Effect<void>) =>
  executeCommand(command).pipe(
    Effect.tapError((error) => (error._tag === "OptimisticLockError" ? onConflict : Effect.void)),
    UnitOfWork.retryConflicts({ times: 20 }),
    at(command.at),
    Effect.as({ _tag: "Succeeded", line, command: command.command } as const),
    Effect.catchIf(isRejection, (error) => Effect.succeed({ _tag: "Rejected", line, command: command.command, error } as const))
  )

const executeCommand = Effect.fnUntraced(function* (line: Line) {
  // All that is said about an order is one conversation.
  const order = "order" in line.payload ? line.payload.order : undefined
  const options = {
    metadata: { by: line.by },
    ...(order === undefined ? {} : { correlationId: EventStore.streamName("Order", order) })
  }
  switch (line.command) {
    case "ReceiveStock":
      return yield* MessageBus.execute(ReceiveStock, line.payload, options)
    case "PlaceOrder":
      return yield* MessageBus.execute(PlaceOrder, line.payload, options)
    case "AddLine":
      return yield* MessageBus.execute(AddLine, line.payload, options)
    case "ReceivePayment":
      return yield* MessageBus.execute(ReceivePayment, line.payload, options)
    case "ShipOrder":
      return yield* MessageBus.execute(ShipOrder, line.payload, options)
    case "CancelOrder":
      return yield* MessageBus.execute(CancelOrder, line.payload, options)
  }
})

/** The errors that the commands declare. Any other is a failure of the store, and no answer to a customer. */
const Rejection = Schema.Union([
  PlaceOrder.errorSchema,
  AddLine.errorSchema,
  ReceivePayment.errorSchema,
  ShipOrder.errorSchema,
  CancelOrder.errorSchema
])
type Rejection = typeof Rejection.Type
const isRejection = Schema.is(Rejection)

/** Runs an effect as if it were that moment: the events it stages are recorded at that time. */
const at =
  (moment: DateTime.Utc) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.updateService(effect, Clock.Clock, (clock): Clock.Clock => {
      const millis = DateTime.toEpochMillis(moment)
      return Object.assign(Object.create(clock), {
        currentTimeMillisUnsafe: () => millis,
        currentTimeMillis: Effect.succeed(millis)
      })
    })
