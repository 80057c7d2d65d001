/**
 * Definitions of events. An event definition **is** a Schema: a tagged struct that also carries what storage needs.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { NoInfer } from "effect/Types"
import { freeze } from "../internal/freeze.ts"
import { annotatableSchema } from "./annotations.ts"
import { type JsonCodec, jsonCodec } from "./jsonCodec.ts"
import type { Checked, Public } from "./personalField.ts"
import type { Metadata, NewEvent, RecordedEvent } from "./stored.ts"

export { type Definition } from "./annotations.ts"

export { sensitive } from "./sensitive.ts"

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
export interface Event<
  Tag extends string,
  F extends Fields,
  Published extends boolean = boolean,
  Tags extends string = string
> extends Schema.TaggedStruct<Tag, F> {
  readonly [TypeId]: typeof TypeId
  /** The event's type: its tag. Part of the storage format. */
  readonly type: Tag
  /** The types that it had before: what is stored under them is read as one of this type. */
  readonly aliases: ReadonlyArray<string>
  /** The version of the payload's schema that this definition writes. */
  readonly version: number
  /** Whether events of this type leave the process through a transport. */
  readonly published: Published
  /** The tags of an event of this type: `Tags` says which it may bear. */
  readonly tags: (event: this["Type"]) => ReadonlyArray<Tags>
  /** What it has been annotated with: see {@link Definition}. */
  readonly annotations: Context.Context<never>
  /** A copy that is annotated with the value of a service or a reference. It is an event, and the same one. */
  annotate<I, S>(key: Context.Key<I, S>, value: NoInfer<S>): this
  /** Schema's own, such as a `title`: what it gives is a Schema, and no event. */
  annotate(annotations: Schema.Annotations.Bottom<this["Type"], this["~type.parameters"]>): this["Rebuild"]
  /** A copy with these annotations as well. */
  annotateMerge<I>(annotations: Context.Context<I>): this
  /** @internal */
  readonly codec: JsonCodec<object>
  /** @internal */
  readonly upcasts: Upcasts
  /** @internal */
  readonly from: From
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
  readonly aliases: ReadonlyArray<string>
  readonly version: number
  readonly published: boolean
  // A method, so that definitions of events with different payloads are all `Any`.
  tags(event: unknown): ReadonlyArray<string>
  /** What it has been annotated with: see {@link Definition}. */
  readonly annotations: Context.Context<never>
  /** A copy that is annotated with the value of a service or a reference. It is an event, and the same one. */
  annotate<I, S>(key: Context.Key<I, S>, value: NoInfer<S>): this
  /** Schema's own, such as a `title`: what it gives is a Schema, and no event. */
  annotate(annotations: Schema.Annotations.Bottom<this["Type"], this["~type.parameters"]>): this["Rebuild"]
  /** A copy with these annotations as well. */
  annotateMerge<I>(annotations: Context.Context<I>): this
  /** @internal */
  readonly codec: JsonCodec<object>
  /** @internal */
  readonly upcasts: Upcasts
  /** @internal */
  readonly from: From
}

/**
 * A type of events that are read no more, and written no more: see {@link retired}. It gives no events, so nothing folds or handles them.
 *
 * @category models
 * @since 0.2.0
 */
export interface Retired<Tag extends string> extends Any {
  readonly Type: never
  /** No event has it; at run time it is the tag. */
  readonly type: never
  readonly retired: Tag
  readonly "~type.make.in": `"${Tag}" is retired: what is stored of it is passed over, and no more is written`
}

/**
 * How an old payload becomes one of the next schema version: `{ 1: (v1) => v2, 2: (v2) => v3 }`. Payloads are JSON here, as stored. The
 * second argument is what else is known of the event. One that gives `undefined` fails as one that throws does: no event is dropped by it.
 *
 * @category models
 * @since 0.1.0
 */
export type Upcasts = {
  // The shape of a payload that is no longer defined anywhere is known to the upcast alone.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly [version: number]: (payload: any, source: Source) => Schema.Json
}

/**
 * How events of other types are read as one of this type, by their type: what is given is the payload at this definition's `version`,
 * `undefined` is for none. Two definitions that read one type split its events.
 *
 * @category models
 * @since 0.2.0
 */
export type From = {
  // As for upcasts.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly [type: string]: (payload: any, source: Source) => Schema.Json | undefined
}

/**
 * What an upcast is told of the event beside its payload.
 *
 * @category models
 * @since 0.2.0
 */
export interface Source {
  /** The type that it is stored under. */
  readonly type: string
  /** The schema version that it was written at. */
  readonly schemaVersion: number
  readonly stream: string
  /** Its metadata. Of a message from a transport it has what travels: the ids of correlation and causation. */
  readonly metadata: Metadata
  /**
   * When it was recorded; `undefined` while it is not yet: in the unit of work that stages it, and in a `Scenario`. A process manager keeps
   * it, and the metadata, of what it reacts to if an upcast of the definition has a second parameter by then.
   */
  readonly recordedAt: DateTime.Utc | undefined
}

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
 * **The tag, the field names and the version are storage format.** To change a payload, raise `version` and add an upcast from the
 * version before; upcasts are chained, so code at version 3 reads events written at version 1. To rename a type, keep its old name in
 * `aliases`: what stands in a store, or comes from an older process, is read under the new one everywhere. `from` reads events of another
 * type, to split it; {@link retired} drops one. Stored bytes are never touched.
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
export const make = <
  const Tag extends string,
  const F extends Fields = {},
  const Published extends boolean = false,
  const Tags extends string = never
>(
  tag: Tag,
  fields?: F & Checked<F>,
  options?: {
    /** The version of this payload's schema, from 1. Default: 1. */
    readonly version?: number | undefined
    /** Whether events of this type leave the process through a transport. Default: `false`. */
    readonly published?: Published | undefined
    /**
     * Tags to store with an event; those of `Tag.make` are known to the compiler, so that a `Decision` asks for none that the event never
     * bears. An event keeps the tags that it was written with, whatever this says later. Tags are in the clear, so personal fields are no
     * part of what they are made of. An event has 64 tags at the most, each of 255 characters. Default: none.
     */
    readonly tags?: ((event: Public<Tag, F>) => ReadonlyArray<Tags>) | undefined
    /** How the payload of each older version becomes one of the next. Default: none, which is right for version 1. */
    readonly upcast?: Upcasts | undefined
    /** The types that it had before. The versions of its payload are counted on over a renaming. Default: none. */
    readonly aliases?: ReadonlyArray<string> | undefined
    /** Other types whose events are read as one of this type as well, or partly. Default: none. */
    readonly from?: From | undefined
  }
): Event<Tag, F, Published, Tags> => {
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
  const aliases = options?.aliases ?? []
  const from = options?.from ?? {}
  const names = new Set<string>([tag])
  for (const name of [...aliases, ...Object.keys(from)]) {
    if (name === "" || names.has(name)) throw new RangeError(`Event "${tag}": it cannot be read from the type "${name}" as well`)
    names.add(name)
  }
  const definedFields: F = fields ?? ({} as F)
  if ("_tag" in definedFields) throw new RangeError(`Event "${tag}": a field must not be called _tag`)
  // The type has a column of its own, so the stored payload goes without the tag.
  const codec = jsonCodec<object>(Object.keys(definedFields).length === 0 ? noFields : Schema.Struct(definedFields))
  // The Schema with its members, whose types are those of the parameters.
  return annotatableSchema(Schema.TaggedStruct(tag, definedFields), {
    [TypeId]: TypeId,
    type: tag,
    aliases,
    version,
    published: options?.published ?? false,
    tags: options?.tags ?? (() => []),
    codec,
    upcasts,
    from
  }) as unknown as Event<Tag, F, Published, Tags>
}

/**
 * A type that is no longer of interest. Listed among the events of an aggregate, subscription, projection, process manager or consumer,
 * it lets them pass over what is stored of it: without it, an aggregate refuses its stream (`UnknownEventTypeError`). It has no fold and
 * no handler, and appending one of it does not compile.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository } from "eventfold"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int })
 * const Viewed = Event.retired("Viewed") // for a statistic that nobody reads any more
 *
 * const Order = Aggregate.make("Order", {
 *   events: [Placed, Viewed],
 *   initial: 0,
 *   evolve: { Placed: (_, { total }) => total }
 * })
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Order-1", [
 *     { type: "Placed", payload: { total: 5 } },
 *     { type: "Viewed", payload: { by: "ada" } }
 *   ])
 *   return yield* Repository.read(Order, "1")
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory)) // => { state: 5, version: 2 }
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const retired = <const Tag extends string>(
  tag: Tag,
  options?: {
    /** Other types that are retired with it, such as names that it had before. Default: none. */
    readonly aliases?: ReadonlyArray<string> | undefined
  }
): Retired<Tag> => {
  const { aliases } = make(tag, {}, options)
  const refuse = (value: unknown) => Schema.decodeUnknownResult(Schema.Never)(value)
  // Likewise.
  return annotatableSchema(Schema.Never, {
    [TypeId]: TypeId,
    type: tag,
    retired: tag,
    aliases,
    version: 1,
    published: false,
    tags: () => [],
    codec: { transforms: false, encode: refuse, decode: refuse },
    upcasts: {},
    from: {}
  }) as unknown as Retired<Tag>
}

/**
 * All types that events of these definitions are stored under, each once: for filters of one's own.
 *
 * ```ts
 * import { Event } from "eventfold"
 *
 * const Placed = Event.make("OrderPlaced", {}, { aliases: ["Placed"] })
 *
 * Event.storedTypes(Placed) // => ["OrderPlaced", "Placed"]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const storedTypes = (...definitions: ReadonlyArray<Any>): ReadonlyArray<string> => [
  ...new Set(definitions.flatMap(({ aliases, from, type }) => [type, ...aliases, ...Object.keys(from)]))
]

// `Schema.Struct({})` lets everything pass, and this drops what is no field as other structs do.
const noFields = Schema.Struct({ "": Schema.optionalKey(Schema.Never) })

/**
 * Makes a typed event ready to append. Its tags are made of the event as it will be read: where a field is written in another form than it was
 * given in (trimmed, say), they are those of that form. What could not be read again is refused.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = <E extends Any>(definition: E, event: E["Type"]): Result.Result<NewEvent, EventEncodeError> =>
  Result.map(write(definition, event), ({ event }) => event)

/** What is written of a typed event, and what it will be read as: a decision is made on that before it is stored as well. */
export interface Written<E extends Any> {
  readonly definition: E
  readonly event: NewEvent
  readonly value: E["Type"]
}

/** {@link encode}, with what the event will be read as. */
export const write = <E extends Any>(definition: E, given: E["Type"]): Result.Result<Written<E>, EventEncodeError> => {
  const { codec, published, tags: tagsOf, type, version } = definition
  const fail = (cause: unknown) => Result.fail(new EventEncodeError({ type, cause }))
  const payload = codec.encode(given)
  if (Result.isFailure(payload)) return fail(payload.failure)
  const fields = codec.transforms ? codec.decode(payload.success) : undefined
  if (fields !== undefined && Result.isFailure(fields)) {
    return fail(new Error("its Schema does not read what it writes", { cause: fields.failure }))
  }
  const value = fields === undefined ? given : ({ _tag: type, ...fields.success } as E["Type"])
  try {
    const tags = tagsOf(value)
    const event = { type, payload: payload.success, schemaVersion: version, published, ...(tags.length === 0 ? {} : { tags }) }
    return Result.succeed({ definition, event, value })
  } catch (cause) {
    // A tag is made of what is in the event, which may be nothing that a tag can be made of.
    return fail(cause)
  }
}

/**
 * What decoding looks at of a stored event.
 *
 * @category encoding
 * @since 0.1.0
 */
export type Stored = Pick<RecordedEvent, "stream" | "version" | "position" | "type" | "schemaVersion" | "payload"> &
  Partial<Pick<RecordedEvent, "metadata" | "recordedAt">>

/** The definitions that read what is stored, by the types that it is stored under. */
export type Readers<E extends Any = Any> = ReadonlyMap<string, ReadonlyArray<E>>

/**
 * Reads a stored event back through its definition: upcasts first, then the Schema.
 *
 * Fails when the payload does not fit, when the event was written by a newer version of the definition, or when an upcast is
 * missing, throws, or gives `undefined`; and when the event is none of the definition's, which `from` or a retired definition may say.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decode = <E extends Any>(definition: E, recorded: Stored): Result.Result<E["Type"], EventDecodeError> =>
  Result.flatMap(read(definition, recorded), (event) =>
    event === undefined
      ? Result.fail(failed(recorded, new Error(`it is no event of the definition "${definition.type}"`)))
      : Result.succeed(event)
  )

const failed = ({ position, stream, type, version }: Stored, cause: unknown) =>
  new EventDecodeError({ stream, version, position, type, cause })

/** {@link decode}, where the event may be none of the definition's. */
export const read = <E extends Any>(definition: E, recorded: Stored): Result.Result<E["Type"] | undefined, EventDecodeError> => {
  if ("retired" in definition) return Result.succeed(undefined)
  if (isCurrent(definition, recorded)) return decodePayload(definition, recorded, recorded.payload)
  const payload = payloadFor(definition, recorded)
  if (Result.isFailure(payload)) return Result.fail(failed(recorded, payload.failure))
  return payload.success === undefined ? Result.succeed(undefined) : decodePayload(definition, recorded, payload.success)
}

/** Whether an event was written by the definition as it is. */
const isCurrent = ({ from, version }: Any, { schemaVersion, type }: Stored): boolean =>
  schemaVersion === version && !Object.hasOwn(from, type)

const decodePayload = <E extends Any>(
  definition: E,
  recorded: Stored,
  payload: Schema.Json
): Result.Result<E["Type"], EventDecodeError> => {
  const fields = definition.codec.decode(payload, recorded.payload)
  return Result.isFailure(fields)
    ? Result.fail(failed(recorded, fields.failure))
    : Result.succeed(freeze({ _tag: definition.type, ...fields.success } as E["Type"]))
}

/** The payload at the definition's version, of one that was written otherwise; `undefined` where the event is none of its. */
const payloadFor = (definition: Any, recorded: Stored): Result.Result<Schema.Json | undefined, Error> => {
  const { schemaVersion, type } = recorded
  const adopt = Object.hasOwn(definition.from, type) ? definition.from[type] : undefined
  const { metadata = {}, recordedAt, stream } = recorded
  const source: Source = freeze({ type, schemaVersion, stream, metadata, recordedAt })
  if (adopt !== undefined)
    return casting(`reading it as "${definition.type}" threw`, () => adopt(freeze(recorded.payload), source))
  if (schemaVersion > definition.version) {
    return Result.fail(
      new Error(`it was written at schema version ${schemaVersion}, and this definition knows up to ${definition.version}`)
    )
  }
  let payload: Result.Result<Schema.Json, Error> = Result.succeed(recorded.payload)
  for (let version = schemaVersion; version < definition.version && Result.isSuccess(payload); version++) {
    const before = payload.success
    const upcast = definition.upcasts[version]
    payload =
      upcast === undefined
        ? Result.fail(new Error(`there is no upcast from schema version ${version} to ${version + 1}`))
        : Result.flatMap(
            casting(`the upcast from schema version ${version} threw`, () => upcast(freeze(before), source)),
            (after: Schema.Json | undefined) => (after === undefined ? gaveNothing(version) : Result.succeed(after))
          )
  }
  return payload
}

/** An upcast reads what is stored of the event; that there is none of it, only `from` says. */
const gaveNothing = (version: number) =>
  Result.fail(
    new Error(
      `the upcast from schema version ${version} gave undefined: it must return the payload of version ${version + 1} (to drop events, use Event.retired, or from)`
    )
  )

const casting = <A>(problem: string, cast: () => A): Result.Result<A, Error> =>
  Result.try({ try: cast, catch: (cause) => new Error(problem, { cause }) })

/**
 * Finds the definition of a stored event by its type, or by one that it had before, and decodes it.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decodeAny = <Events extends ReadonlyArray<Any>>(
  definitions: ReadonlyMap<string, Events[number]>,
  recorded: Stored
): Result.Result<Events[number]["Type"], EventDecodeError | UnknownEventTypeError> => {
  const definition =
    definitions.get(recorded.type) ?? Array.from(definitions.values()).find(({ aliases }) => aliases.includes(recorded.type))
  return definition === undefined ? Result.fail(unknownType(recorded)) : decode(definition, recorded)
}

const unknownType = ({ position, stream, type, version }: Stored) =>
  new UnknownEventTypeError({ stream, version, position, type })

/** An event as one of its definitions reads it. */
export interface Read<E extends Any> {
  readonly definition: E
  readonly event: E["Type"]
}

/** What a stored event is read as: one event, several where it is split, none where it is retired. In the order of the definitions. */
export const readAll = <E extends Any>(
  readers: Readers<E>,
  recorded: Stored,
  isReader: (definition: E) => boolean = () => true
): Result.Result<ReadonlyArray<Read<E>>, EventDecodeError | UnknownEventTypeError> => {
  const definitions = readers.get(recorded.type)
  if (definitions === undefined) return Result.fail(unknownType(recorded))
  const found: Array<Read<E>> = []
  for (const definition of definitions) {
    if (!isReader(definition)) continue
    const event = read(definition, recorded)
    if (Result.isFailure(event)) return Result.fail(event.failure)
    if (event.success !== undefined) found.push({ definition, event: event.success })
  }
  return Result.succeed(found)
}
