/** Fields of events, states and commands that hold personal data: Schemas, and what they ask of the definition that they stand in. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import type { NoInfer } from "effect/Types"
import { mapped, someIn } from "./asts.ts"
import type { Fields } from "./Event.ts"
import { jsonCodec } from "./jsonCodec.ts"

/**
 * What is read where personal data was, once its subject is forgotten. As a Schema, for states and answers that keep it.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Personal } from "eventfold"
 *
 * const State = Schema.Struct({ email: Schema.Union([Schema.String, Personal.Forgotten]) })
 * State.make({ email: Personal.forgotten }).email // => { _tag: "Forgotten" }
 * ```
 *
 * @category models
 * @since 0.2.0
 */
export const Forgotten = Schema.Struct({ _tag: Schema.Literal("Forgotten") })

/**
 * What is read where personal data was, once its subject is forgotten.
 *
 * @category models
 * @since 0.2.0
 */
export type Forgotten = typeof Forgotten.Type

/**
 * The one value of {@link Forgotten}.
 *
 * @category constructors
 * @since 0.2.0
 */
export const forgotten: Forgotten = Object.freeze({ _tag: "Forgotten" })

/**
 * Whether a value is what is left of one that is forgotten.
 *
 * @category guards
 * @since 0.2.0
 */
export const isForgotten = (value: unknown): value is Forgotten =>
  typeof value === "object" && value !== null && "_tag" in value && value._tag === "Forgotten"

/**
 * The value, or another one where it is forgotten.
 *
 * ```ts
 * import { Personal } from "eventfold"
 *
 * const email: string | Personal.Forgotten = Personal.forgotten
 * Personal.getOrElse(email, () => "nobody") // => "nobody"
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const getOrElse = <A, B>(value: A, orElse: () => B): Exclude<A, Forgotten> | B =>
  isForgotten(value) ? orElse() : (value as Exclude<A, Forgotten>)

/**
 * For `subject`: the id in the name of the event's stream, so `c1` of `Customer-c1`.
 *
 * @category models
 * @since 0.2.0
 */
export const ofStream = "$stream"

/**
 * The Schema of personal data: anything that decodes and encodes without services.
 *
 * @category models
 * @since 0.2.0
 */
export type AnySchema = Schema.ConstraintCodec<unknown, unknown, never, never>

/**
 * What a field encodes to: an envelope, which a store that is provided through `Personal.layer` keeps sealed.
 *
 * @category models
 * @since 0.2.0
 */
export type Envelope<E> = {
  readonly $personal: {
    /** The field that names the subject. */
    readonly of?: string
    /** The key that it was sealed with, where it has been read. */
    readonly key?: string
    readonly value?: E
    readonly forgotten?: true
    readonly sealed?: string
    readonly nth?: number
    readonly problem?: string
  }
}

/**
 * A field that holds personal data: see {@link field}.
 *
 * @category models
 * @since 0.2.0
 */
export interface Field<S extends AnySchema, Subject extends string, Type> extends Schema.Codec<Type, Envelope<S["Encoded"]>> {
  readonly "~personal": { readonly subject: Subject; readonly schema: S }
  readonly Rebuild: Field<S, Subject, Type>
}

/** The subjects of the personal fields that a Schema is or holds, save those in structs, which have siblings of their own. */
type SubjectOf<S> = S extends { readonly "~personal": { readonly subject: infer Subject } }
  ? Subject
  : S extends { readonly members: infer Inner } | { readonly elements: infer Inner }
    ? Inner extends ReadonlyArray<infer One>
      ? SubjectOf<One>
      : never
    : S extends { readonly key: unknown; readonly value: infer Inner }
      ? [SubjectOf<Inner>] extends [never]
        ? never
        : { readonly isRecord: true }
      : S extends { readonly schema: infer Inner } | { readonly value: infer Inner }
        ? SubjectOf<Inner>
        : never

/** What is wrong with a subject, among the fields that it is one of. */
type SubjectFault<F, Subject> = Subject extends typeof ofStream
  ? never
  : Subject extends keyof F
    ? F[Subject] extends { readonly "~personal": unknown }
      ? `The subject '${Subject & string}' must not be personal itself`
      : F[Subject] extends { readonly Encoded: string }
        ? never
        : `The subject '${Subject & string}' is not text`
    : Subject extends string
      ? `There is no field '${Subject}' to take the subject from`
      : "A record has no subject beside its values: make one personal field of the whole record"

/** What an event's fields must be beside Schemas: a subject is text of the same event, and not personal itself. */
export type Checked<F> = {
  readonly [P in keyof F]: [SubjectFault<F, SubjectOf<F[P]>>] extends [never] ? F[P] : SubjectFault<F, SubjectOf<F[P]>>
}

/** Whether a Schema is a personal field, or holds one. */
export type Holds<S> = S extends { readonly "~personal": unknown }
  ? true
  : S extends { readonly fields: infer Inner }
    ? true extends { [P in keyof Inner]: Holds<Inner[P]> }[keyof Inner]
      ? true
      : false
    : S extends { readonly members: infer Inner } | { readonly elements: infer Inner }
      ? Inner extends ReadonlyArray<infer One>
        ? true extends Holds<One>
          ? true
          : false
        : false
      : S extends { readonly schema: infer Inner } | { readonly value: infer Inner } | { readonly from: infer Inner }
        ? Holds<Inner>
        : false

/** What of an event stays in the clear, so that tags may be made of it. */
export type Public<Tag extends string, F extends Fields> = string extends keyof F
  ? Schema.TaggedStruct<Tag, F>["Type"]
  : true extends { [P in keyof F]: Holds<F[P]> }[keyof F]
    ? Schema.TaggedStruct<Tag, { readonly [P in keyof F as Holds<F[P]> extends true ? never : P]: F[P] }>["Type"]
    : Schema.TaggedStruct<Tag, F>["Type"]

const problems = {
  forgotten: "it is forgotten, and there is no other value for that here",
  sealed: "sealed personal data: it is read without Personal.layer",
  nothing: "it is no personal data: neither a value, nor sealed, nor forgotten"
}

const issueOf = <A>(result: Result.Result<A, Schema.SchemaError>): Effect.Effect<A, SchemaIssue.Issue> =>
  Result.isSuccess(result) ? Effect.succeed(result.success) : Effect.fail(result.failure.issue)

const failing = (message: string) => Effect.fail(new SchemaIssue.InvalidValue({ message }))

/** {@link Forgotten} where it is decoded: found by one look. */
const isLeft = Schema.declare(isForgotten, { expected: "Forgotten" })

type Inside = Envelope<Schema.Json>["$personal"]

const mark = "eventfold/personal"

/** Where an envelope has the Schema of what is in it. */
const within = "eventfold/personal/schema"

/** An envelope, whatever is in it: JSON already. */
const AnyEnvelope = Schema.declare(
  (value): value is Envelope<Schema.Json> =>
    typeof value === "object" &&
    value !== null &&
    "$personal" in value &&
    typeof value.$personal === "object" &&
    value.$personal !== null,
  { expected: "personal data", toCodecJson: () => undefined, [mark]: true }
)

/** Whether this is a personal field, whatever it has been annotated, checked or renamed with: it is read from an envelope. */
const isPersonal = ({ encoding }: SchemaAST.AST): boolean => encoding?.at(-1)?.to.annotations?.[mark] === true

/** Whether a Schema is a personal field, or holds one. */
const holdsPersonal = (ast: SchemaAST.AST): boolean => someIn(ast, isPersonal)

const marked = <F>(schema: Schema.Top, mark: object): F =>
  Object.assign(schema, {
    "~personal": mark,
    annotate: (annotations: Schema.Annotations.Annotations) => marked(schema.rebuild(schema.ast).annotate(annotations), mark)
  }) as F

/** The Schema of an envelope; `forgottenAs` gives what is read of one that is forgotten. */
const make = <F>(
  schema: AnySchema,
  to: AnySchema,
  subject: string,
  forgottenAs: () => Effect.Effect<unknown, SchemaIssue.Issue>
): F => {
  if (subject === "") throw new RangeError("Personal: the subject must be the name of a field, or Personal.ofStream")
  if (holdsPersonal(schema.ast)) {
    throw new RangeError(
      "Personal: a personal field must not hold another, which could not be forgotten by itself: put them side by side"
    )
  }
  const inner = jsonCodec(schema)
  const decoded = ($personal: Inside): Effect.Effect<unknown, SchemaIssue.Issue> => {
    if ($personal.forgotten === true) return forgottenAs()
    if ("value" in $personal) return issueOf(inner.decode($personal.value))
    if ($personal.problem !== undefined) return failing($personal.problem)
    return failing($personal.sealed === undefined && $personal.nth === undefined ? problems.nothing : problems.sealed)
  }
  const encoded = (value: unknown): Effect.Effect<Envelope<Schema.Json>, SchemaIssue.Issue> =>
    isForgotten(value)
      ? Effect.succeed({ $personal: { forgotten: true } })
      : Effect.mapEager(issueOf(inner.encode(value)), (value) => ({ $personal: { of: subject, value } }))
  const codec = AnyEnvelope.annotate({ [within]: schema }).pipe(
    Schema.decodeTo(to, {
      decode: SchemaGetter.transformEffect(({ $personal }: Envelope<Schema.Json>) => decoded($personal)),
      encode: SchemaGetter.transformEffect(encoded)
    })
  )
  return marked(codec, { subject, schema })
}

/**
 * A field of an event that holds personal data. Below `Personal.layer` its value is sealed with a key of the subject's own; once that subject
 * is forgotten (`Personal.forget`) it is read as {@link Forgotten}, or as `whenForgotten`.
 *
 * **Details**: `subject` is the name of the field beside it that names the person, in the same struct: so one event may tell of several. The
 * Schema may be any, a struct or a list too. The field may stand within structs and lists of the event, and in the states of snapshots.
 *
 * **Gotchas**: the subject's id is in the clear, and stays: use one that says nothing. `whenForgotten` is an ordinary value to all that follows;
 * where something leaves the house, leave it out, so that the compiler asks what is to be done.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event, Personal } from "eventfold"
 *
 * const Registered = Event.make("Registered", {
 *   customer: Schema.String,
 *   email: Personal.field(Schema.String, { subject: "customer" }), // string | Forgotten
 *   name: Personal.field(Schema.String, { subject: "customer", whenForgotten: "(forgotten)" }) // string
 * })
 *
 * const { email } = Registered.make({ customer: "c1", email: Personal.forgotten, name: "(forgotten)" })
 * Personal.getOrElse(email, () => "nobody") // => "nobody"
 * ```
 *
 * @category schemas
 * @since 0.2.0
 */
export const field: {
  <S extends AnySchema, const Subject extends string>(
    schema: S,
    options: {
      /** The field beside it that names the subject, or {@link ofStream}. */
      readonly subject: Subject
    }
  ): Field<S, Subject, S["Type"] | Forgotten>
  <S extends AnySchema, const Subject extends string>(
    schema: S,
    options: {
      /** The field beside it that names the subject, or {@link ofStream}. */
      readonly subject: Subject
      /** What is read once the subject is forgotten. */
      readonly whenForgotten: NoInfer<S["Type"]>
    }
  ): Field<S, Subject, S["Type"]>
} = <S extends AnySchema>(schema: S, options: { readonly subject: string; readonly whenForgotten?: S["Type"] }) => {
  const type: AnySchema = Schema.toType(schema)
  return "whenForgotten" in options
    ? make(schema, type, options.subject, () => Effect.succeed(options.whenForgotten))
    : make(schema, Schema.Union([type, isLeft]), options.subject, () => Effect.succeed(forgotten))
}

/**
 * A field of a command that holds personal data: a value, and never {@link Forgotten}. Where the command is recorded it is sealed as an
 * event's is; a command that comes in, over a network too, has the value in an envelope, `{ "$personal": { "of": "customer", "value": "…" } }`.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Command, Personal } from "eventfold"
 *
 * const Register = Command.make("Register", {
 *   payload: { customer: Schema.String, email: Personal.input(Schema.String, { subject: "customer" }) }
 * })
 *
 * const encoded = Schema.encodeSync(Register.payloadSchema)({ customer: "c1", email: "ada@example.org" })
 * encoded // => { customer: "c1", email: { $personal: { of: "customer", value: "ada@example.org" } } }
 * ```
 *
 * @category schemas
 * @since 0.2.0
 */
export const input = <S extends AnySchema, const Subject extends string>(
  schema: S,
  options: {
    /** The field beside it that names the subject. */
    readonly subject: Subject
  }
): Field<S, Subject, S["Type"]> => make(schema, Schema.toType(schema), options.subject, () => failing(problems.forgotten))

/**
 * What a reader gets that leaves personal data sealed: see {@link blind}.
 *
 * @category models
 * @since 0.2.0
 */
export const Withheld = Schema.Struct({ _tag: Schema.Literal("Withheld") })

/**
 * What a reader gets that leaves personal data sealed.
 *
 * @category models
 * @since 0.2.0
 */
export type Withheld = typeof Withheld.Type

/**
 * The one value of {@link Withheld}.
 *
 * @category constructors
 * @since 0.2.0
 */
export const withheld: Withheld = Object.freeze({ _tag: "Withheld" })

const blindly = Schema.declare(
  (value): value is Withheld | Forgotten =>
    typeof value === "object" && value !== null && "_tag" in value && (value._tag === "Withheld" || value._tag === "Forgotten"),
  { expected: "Withheld" }
)

/** A field as it is read by who is not to see it, or does not need to. */
const blindField = AnyEnvelope.pipe(
  Schema.decodeTo(blindly, {
    decode: SchemaGetter.transform(({ $personal }: Envelope<Schema.Json>) =>
      $personal.forgotten === true ? forgotten : withheld
    ),
    encode: SchemaGetter.forbidden(() => "a definition that is blind to personal data reads, and writes nothing")
  })
)

/** Whether a field may be missing in what is read: it is optional, or has a default. */
const mayBeMissing = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isOptional(ast) || ast.encoding?.some(({ to }) => SchemaAST.isOptional(to)) === true

/** A Schema with others in the place of the personal fields in it. What has been made of them is as what it is made of. */
const replacing = <S extends AnySchema>(schema: S, other: (ast: SchemaAST.AST) => AnySchema): S | AnySchema =>
  holdsPersonal(schema.ast)
    ? Schema.make<AnySchema>(
        mapped(
          schema.ast,
          (ast, each) => {
            if (isPersonal(ast)) return (mayBeMissing(ast) ? Schema.optionalKey(other(ast)) : other(ast)).ast
            const from = ast.encoding?.at(-1)?.to
            return from !== undefined && holdsPersonal(from) ? each(from) : undefined
          },
          (ast) => !holdsPersonal(ast)
        )
      )
    : schema

/** What is in an envelope that is stored: a value, or what is left of it. */
const envelopeOf = (schema: AnySchema) =>
  Schema.Struct({
    $personal: Schema.Struct({
      of: Schema.optionalKey(Schema.String),
      value: Schema.optionalKey(schema),
      sealed: Schema.optionalKey(Schema.String),
      nth: Schema.optionalKey(Schema.Int),
      key: Schema.optionalKey(Schema.String),
      forgotten: Schema.optionalKey(Schema.Literal(true))
    })
  })

/** A Schema as it is to be described to others: what is in the envelopes of its personal fields is said. */
export const describedSchema = <S extends AnySchema>(schema: S): S | AnySchema =>
  replacing(schema, ({ encoding }) => envelopeOf(encoding?.at(-1)?.to.annotations?.[within] as AnySchema))

/**
 * A Schema as it is to who does not see what is personal in it. What has been made of personal data (by a transformation, or a class) is read
 * as what it is made of, and what holds personal data is not checked otherwise: a check would ask for what is not seen.
 */
export const blindSchema = <S extends AnySchema>(schema: S): S | AnySchema => replacing(schema, () => blindField)

/**
 * A value as a personal field is stored before it is sealed, for upcasts of what was written in the clear.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event, Personal } from "eventfold"
 *
 * Event.make("Registered", {
 *   customer: Schema.String,
 *   email: Personal.field(Schema.String, { subject: "customer" })
 * }, { version: 2, upcast: { 1: (old) => ({ ...old, email: Personal.open("customer", old.email) }) } })
 *
 * Personal.open("customer", "ada@example.org") // => { $personal: { of: "customer", value: "ada@example.org" } }
 * ```
 *
 * @category encoding
 * @since 0.2.0
 */
export const open = (subject: string, value: Schema.Json): Schema.Json => ({ $personal: { of: subject, value } })
