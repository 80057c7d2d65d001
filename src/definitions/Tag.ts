/**
 * Tags: by them a `Decision` finds the events that it is made on, in whatever stream they stand.
 *
 * A tag is `name:value`, such as `course:c-1`. It is spelt in one place, and the events that bear it and the decisions that ask for it both use that.
 *
 * @since 0.2.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { nameFault } from "./names.ts"

/**
 * The Schema of what a tag is made of: it encodes to a string, without services.
 *
 * @category models
 * @since 0.2.0
 */
export type ValueSchema = Schema.ConstraintCodec<unknown, string, never, never>

/**
 * A kind of tags. Called with a value it gives the tag; of a value that no tag can be made of it throws a {@link TagError}, which is an
 * `EventEncodeError` where an event is encoded.
 *
 * @category models
 * @since 0.2.0
 */
export interface Tag<out Name extends string, in out S extends ValueSchema = typeof Schema.String> extends Any {
  (value: S["Type"]): `${Name}:${string}`
  /** What its tags begin with. Part of the storage format. */
  readonly name: Name
  /** The Schema of its values. */
  readonly schema: S
}

/**
 * What all kinds of tags have in common.
 *
 * @category models
 * @since 0.2.0
 */
export interface Any {
  /** What its tags begin with. */
  readonly name: string
  readonly schema: ValueSchema
  /** The tag of a value. Unlike a call it throws nothing. */
  readonly encode: (value: unknown) => Result.Result<string, TagError>
}

/**
 * What the tags of a kind are made of.
 *
 * @category models
 * @since 0.2.0
 */
export type Value<T extends Any> = T["schema"]["Type"]

/**
 * No tag can be made of a value: it does not fit the Schema, or nothing is left of it, or the tag would be too long. Nothing was read or written.
 *
 * @category errors
 * @since 0.2.0
 */
export class TagError extends Schema.TaggedError<TagError>("eventfold/Tag/TagError")("TagError", {
  /** The name of the tag. */
  tag: Schema.String,
  /** The decision's model that was given the value, where it was one. */
  model: Schema.optionalKey(Schema.String),
  /** What is wrong with the value. */
  problem: Schema.String
}) {
  override get message(): string {
    const where = this.model === undefined ? "" : `, which the model "${this.model}" asks for`
    return `There is no tag "${this.tag}"${where}, of this value: ${this.problem}`
  }
}

/** What no text is: the compiler's message ends with what is wrong with it. */
interface Refused<out Problem extends string> {
  readonly "~eventfold/Tag/Refused": Problem
}

/** What stands beside a name that has a colon, or is empty. */
type Named<Name extends string> = Name extends `${string}:${string}`
  ? Refused<"a name without a colon: a tag is split at its first one">
  : Name extends ""
    ? Refused<"a name that is not empty">
    : unknown

/**
 * Defines a kind of tags: its name, which is storage format, and the Schema of its values (a text, unless told otherwise).
 *
 * What the Schema encodes is what stands in the tag, so it also says which values count as the same: one that folds case makes two names
 * that differ in case one tag. Tags are not encrypted and cannot be erased: where the value is personal, let the Schema hash it.
 *
 * Throws a `RangeError` where the name is empty, is too long or has a colon.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event, Tag } from "eventfold"
 *
 * const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
 * const course = Tag.make("course", CourseId)
 *
 * const CourseDefined = Event.make("CourseDefined", { course: CourseId }, { tags: (event) => [course(event.course)] })
 *
 * CourseDefined.tags(CourseDefined.make({ course: CourseId.make("c-1") })) // => ["course:c-1"]
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <const Name extends string, S extends ValueSchema = typeof Schema.String>(
  name: Name & Named<Name>,
  schema?: S
): Tag<Name, S> => {
  const own: ValueSchema = schema ?? Schema.String
  const fault = name.includes(":") ? "must have no colon: a tag is split at its first one" : nameFault(name && `${name}:_`)
  if (fault !== undefined) throw new RangeError(`Tag "${name}": the name ${fault}`)
  const encodeValue = Schema.encodeUnknownResult(own)
  const refuse = (problem: string) => Result.fail(new TagError({ tag: name, problem }))
  const encode = (value: unknown): Result.Result<`${Name}:${string}`, TagError> => {
    const encoded = encodeValue(value)
    if (Result.isFailure(encoded)) return refuse(`it does not fit its schema: ${encoded.failure.message}`)
    if (encoded.success === "") return refuse("it is empty once it is encoded")
    const tag = `${name as Name}:${encoded.success}` as const
    const problem = nameFault(tag)
    return problem === undefined ? Result.succeed(tag) : refuse(`the tag ${problem}`)
  }
  const tag = (value: unknown) => Result.getOrThrow(encode(value))
  Object.defineProperty(tag, "name", { value: name })
  // `S` is the Schema that was given, and that of all texts where none was.
  return Object.assign(tag, { schema: own as S, encode }) as Tag<Name, S>
}
