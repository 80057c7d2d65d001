/**
 * Definitions of events. An event definition **is** a Schema: a tagged struct that also carries what storage needs.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { freeze } from "../internal/freeze.ts"
import { type JsonCodec, jsonCodec } from "./jsonCodec.ts"
import type { NewEvent, RecordedEvent } from "./stored.ts"

const TypeId = "~eventfold/Event"

/**
 * Fields that an event may have: schemas that decode and encode without services.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = {
  readonly [name: string]: Schema.ConstraintCodec<unknown, unknown, never, never>
}

/**
 * An event definition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Event<Tag extends string, F extends Fields, Published extends boolean = boolean> extends Schema.TaggedStruct<
  Tag,
  F
> {
  readonly [TypeId]: typeof TypeId
  /** The event's type: its tag. Part of the storage format. */
  readonly type: Tag
  /** The version of the payload's schema that this definition writes. */
  readonly version: number
  /** Whether events of this type leave the process through a transport. */
  readonly published: Published
  /** The tags of an event of this type. */
  readonly tags: (event: this["Type"]) => ReadonlyArray<string>
  /** @internal */
  readonly codec: JsonCodec<object>
  /** @internal */
  readonly upcasts: Upcasts
}

/**
 * What all event definitions have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Any extends Schema.Top {
  readonly [TypeId]: typeof TypeId
  readonly Type: { readonly _tag: string }
  readonly type: string
  readonly version: number
  readonly published: boolean
  // A method, so that definitions of events with different payloads are all `Any`.
  tags(event: unknown): ReadonlyArray<string>
  /** @internal */
  readonly codec: JsonCodec<object>
  /** @internal */
  readonly upcasts: Upcasts
}

/**
 * How an old payload becomes one of the next schema version: `{ 1: (v1) => v2, 2: (v2) => v3 }`. Payloads are JSON here, as stored.
 *
 * @category models
 * @since 0.1.0
 */
// The shape of a payload that is no longer defined anywhere is known to the upcast alone.
// oxlint-disable-next-line typescript/no-explicit-any
export type Upcasts = { readonly [version: number]: (payload: any) => Schema.Json }

/**
 * The stored event could not be decoded: its payload does not fit the definition, or an upcast failed.
 *
 * What is stored is untouched; mend the definition or add an upcast.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventDecodeError extends Schema.TaggedError<EventDecodeError>("eventfold/Event/EventDecodeError")(
  "EventDecodeError",
  {
    stream: Schema.String,
    version: Schema.Number,
    position: Schema.Number,
    type: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Event ${this.version} of stream "${this.stream}" (${this.type}, position ${this.position}) could not be decoded: ${why}`
  }
}

/**
 * The stream holds an event of a type that the reader does not know.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownEventTypeError extends Schema.TaggedError<UnknownEventTypeError>("eventfold/Event/UnknownEventTypeError")(
  "UnknownEventTypeError",
  { stream: Schema.String, version: Schema.Number, position: Schema.Number, type: Schema.String }
) {
  override get message(): string {
    return `Event ${this.version} of stream "${this.stream}" (position ${this.position}) has the unknown type "${this.type}": add its definition to the events that are read here`
  }
}

/**
 * The event does not fit its definition, so it cannot be written.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventEncodeError extends Schema.TaggedError<EventEncodeError>("eventfold/Event/EventEncodeError")(
  "EventEncodeError",
  {
    type: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Event "${this.type}" does not fit its definition: ${why}`
  }
}

/**
 * Defines an event.
 *
 * **The tag, the field names and the version are storage format.** Renaming a type is a breaking change: events that stand in
 * a store keep their old type. To change a payload, raise `version` and add an upcast from the version before; upcasts are
 * chained, so code at version 3 reads events written at version 1. Stored bytes are never touched.
 *
 * **Types are best unique in a program.** Where two definitions have one type, a handler only ever gets events of its own. A listener
 * of the bus hears what was staged with its very definition. Whoever reads what is stored goes by the aggregates (`Aggregate.make`): an
 * event in a stream of an aggregate that lists another definition of this type is passed over by the handlers of a definition that
 * belongs to another aggregate. What cannot be told apart is refused: two definitions of one type in one list of events (of an
 * aggregate, subscription, projection, process manager, consumer) throw a `RangeError` that names the type.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event } from "eventfold"
 *
 * const MoneyDeposited = Event.make("MoneyDeposited", { amount: Schema.Int }, {
 *   version: 2,
 *   published: true, // leaves the process through a transport
 *   tags: ({ amount }) => (amount > 10_000 ? ["large"] : []), // for queries and append conditions
 *   upcast: { 1: (old) => ({ amount: old.cents }) } // version 1 called it "cents"
 * })
 *
 * MoneyDeposited.make({ amount: 5 }) // => { _tag: "MoneyDeposited", amount: 5 }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Tag extends string, const F extends Fields = {}, const Published extends boolean = false>(
  tag: Tag,
  fields?: F,
  options?: {
    /** The version of this payload's schema, from 1. Default: 1. */
    readonly version?: number | undefined
    /** Whether events of this type leave the process through a transport. Default: `false`. */
    readonly published?: Published | undefined
    /** Tags to store with an event. Default: none. */
    readonly tags?: ((event: Schema.TaggedStruct<Tag, F>["Type"]) => ReadonlyArray<string>) | undefined
    /** How the payload of each older version becomes one of the next. Default: none, which is right for version 1. */
    readonly upcast?: Upcasts | undefined
  }
): Event<Tag, F, Published> => {
  const version = options?.version ?? 1
  const upcasts = options?.upcast ?? {}
  if (tag === "") throw new RangeError("Event: the type must not be empty")
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new RangeError(`Event "${tag}": version must be a whole number from 1, not ${version}`)
  }
  for (const from of Object.keys(upcasts)) {
    if (!(Number.isInteger(Number(from)) && Number(from) >= 1 && Number(from) < version)) {
      throw new RangeError(`Event "${tag}": there is an upcast from version ${from}, but the definition is at version ${version}`)
    }
  }
  const definedFields = fields ?? ({} as F)
  if ("_tag" in definedFields) throw new RangeError(`Event "${tag}": a field must not be called _tag`)
  // The type has a column of its own, so the stored payload goes without the tag.
  const codec = jsonCodec<object>(Object.keys(definedFields).length === 0 ? noFields : Schema.Struct(definedFields))
  return Object.assign(Schema.TaggedStruct(tag, definedFields), {
    [TypeId]: TypeId,
    type: tag,
    version,
    published: options?.published ?? false,
    tags: options?.tags ?? (() => []),
    codec,
    upcasts
  } as const) as unknown as Event<Tag, F, Published>
}

// `Schema.Struct({})` lets everything pass, and this drops what is no field as other structs do.
const noFields = Schema.Struct({ "": Schema.optionalKey(Schema.Never) })

/**
 * Makes a typed event ready to append.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = <E extends Any>(definition: E, event: E["Type"]): Result.Result<NewEvent, EventEncodeError> => {
  const payload = definition.codec.encode(event)
  if (Result.isFailure(payload)) return Result.fail(new EventEncodeError({ type: definition.type, cause: payload.failure }))
  const tags = definition.tags(event)
  return Result.succeed({
    type: definition.type,
    payload: payload.success,
    schemaVersion: definition.version,
    published: definition.published,
    ...(tags.length === 0 ? {} : { tags })
  })
}

/**
 * What decoding looks at of a stored event.
 *
 * @category encoding
 * @since 0.1.0
 */
export type Stored = Pick<RecordedEvent, "stream" | "version" | "position" | "type" | "schemaVersion" | "payload">

/**
 * Reads a stored event back through its definition: upcasts first, then the Schema.
 *
 * Fails when the payload does not fit, when the event was written by a newer version of the definition, or when an upcast is
 * missing or throws.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decode = <E extends Any>(definition: E, recorded: Stored): Result.Result<E["Type"], EventDecodeError> => {
  const fail = (cause: unknown) =>
    Result.fail(
      new EventDecodeError({
        stream: recorded.stream,
        version: recorded.version,
        position: recorded.position,
        type: recorded.type,
        cause
      })
    )
  let payload = recorded.payload
  if (recorded.schemaVersion !== definition.version) {
    if (recorded.schemaVersion > definition.version) {
      return fail(
        new Error(
          `it was written at schema version ${recorded.schemaVersion}, and this definition knows up to ${definition.version}`
        )
      )
    }
    for (let version = recorded.schemaVersion; version < definition.version; version++) {
      const upcast = definition.upcasts[version]
      if (upcast === undefined) return fail(new Error(`there is no upcast from schema version ${version} to ${version + 1}`))
      try {
        payload = upcast(freeze(payload))
      } catch (cause) {
        return fail(new Error(`the upcast from schema version ${version} threw`, { cause }))
      }
    }
  }
  const fields = definition.codec.decode(payload, recorded.payload)
  return Result.isFailure(fields)
    ? fail(fields.failure)
    : Result.succeed(freeze({ _tag: definition.type, ...fields.success } as E["Type"]))
}

/**
 * Finds the definition of a stored event by its type, and decodes it.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decodeAny = <Events extends ReadonlyArray<Any>>(
  definitions: ReadonlyMap<string, Events[number]>,
  recorded: Stored
): Result.Result<Events[number]["Type"], EventDecodeError | UnknownEventTypeError> => {
  const definition = definitions.get(recorded.type)
  if (definition !== undefined) return decode(definition, recorded)
  const { position, stream, type, version } = recorded
  return Result.fail(new UnknownEventTypeError({ stream, version, position, type }))
}
