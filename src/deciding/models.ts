/** Models: which events one reads, by types and tags, and what they fold to. */
import * as Result from "effect/Result"
import * as Aggregate from "../definitions/Aggregate.ts"
import * as Event from "../definitions/Event.ts"
import { definitionsOf, readersOf } from "../definitions/listing.ts"
import * as Tag from "../definitions/Tag.ts"
import { freeze } from "../internal/freeze.ts"
import { type Boundary, type Fold, makeBoundary, type Part } from "./boundary.ts"

/**
 * The values that a model is called with: one for each of its tags.
 *
 * @category models
 * @since 0.2.0
 */
export type Values<Tags extends { readonly [name: string]: Tag.Any }> = keyof Tags extends never
  ? []
  : [values: { readonly [Name in keyof Tags]: Tag.Value<Tags[Name]> }]

/**
 * Facts of one kind, and what they fold to. Called with the values of its tags, it gives a {@link Boundary}.
 *
 * @category models
 * @since 0.2.0
 */
export interface Model<
  in out Tags extends { readonly [name: string]: Tag.Any },
  out Events extends ReadonlyArray<Event.Any>,
  out State
> {
  (...values: Values<Tags>): Boundary<State, Events[number]>
  readonly name: string
  readonly tags: Tags
  readonly events: Events
  /** What there is before the first event. */
  readonly initial: State
  readonly read: "all" | "last"
}

/** The tags that events of a definition may bear: any, where they are made of mere strings. */
type TagsOf<E extends Event.Any> = ReturnType<E["tags"]>[number]

/** The tags that may be of a name: also those of which the compiler does not know the name. */
type TagsNamed<Tags extends string, Name extends string> = Tags extends unknown
  ? Tags extends `${Name}:${string}`
    ? Tags
    : `${Name}:${string}` extends Tags
      ? Tags
      : never
  : never

/** What is wrong with a definition in a model with these tags: nothing, or a sentence that the compiler's message ends with. */
type Fault<Tags extends { readonly [name: string]: Tag.Any }, E extends Event.Any> = {
  [Name in Tags[keyof Tags]["name"]]: string extends TagsOf<E>
    ? never
    : [TagsNamed<TagsOf<E>, Name>] extends [never]
      ? `${E["type"]} never bears the tag "${Name}", so this model would never see it`
      : never
}[Tags[keyof Tags]["name"]]

/** Beside the events of a model: each that it would never see becomes what it is not. */
type Seen<Tags extends { readonly [name: string]: Tag.Any }, Events extends ReadonlyArray<Event.Any>> = {
  readonly [Index in keyof Events]: [Fault<Tags, Events[Index]>] extends [never] ? unknown : Fault<Tags, Events[Index]>
}

/**
 * What a model is made of.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<
  Tags extends { readonly [name: string]: Tag.Any },
  Events extends ReadonlyArray<Event.Any>,
  Initial,
  S extends Aggregate.StateSchema
> {
  /** The tags that an event must bear, all of them. With none (`{}`) the events are read wherever they stand in the whole log. */
  readonly tags: Tags
  /** The definitions of the events that are read. One that never bears the tags does not compile. */
  readonly events: Events & Seen<Tags, NoInfer<Events>>
  /**
   * The Schema of the state: its literals and unions hold for `initial` and for what each fold returns. Default: none, the state is
   * what `initial` is.
   */
  readonly state?: S
  /** What there is before the first event. */
  readonly initial: Initial & Aggregate.TypeOf<S>
  /** One fold per event type: one that is missing, or one for an event that is not listed, does not compile. */
  readonly evolve: Aggregate.Folds<Events, NoInfer<Aggregate.StateOf<S, Initial>>>
  /**
   * `"last"` reads the newest event alone, and folds it onto `initial`: for a counter, or whether there is any at all. It costs the same
   * however many there are. Default: `"all"`.
   */
  readonly read?: "all" | "last" | undefined
}

/**
 * Defines a model: which events it reads, by types and tags, and what they fold to. Nothing of it is stored.
 *
 * Events that were renamed or split (`aliases`, `from`) are read under their old types as well, and are checked under them. Folds are pure, as those of aggregates
 * are. An event that bears a tag bears it from when it was written: a model with a tag that was added later does not see what is older.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Decision, Event, Tag } from "eventfold"
 *
 * const course = Tag.make("course")
 * const student = Tag.make("student")
 * const Defined = Event.make("CourseDefined", { course: Schema.String, seats: Schema.Int }, { tags: (event) => [course(event.course)] })
 * const Subscribed = Event.make("Subscribed", { course: Schema.String, student: Schema.String }, {
 *   tags: (event) => [course(event.course), student(event.student)]
 * })
 *
 * const Free = Decision.make("Free", {
 *   tags: { course },
 *   events: [Defined, Subscribed],
 *   initial: 0,
 *   evolve: { CourseDefined: (free, { seats }) => free + seats, Subscribed: (free) => free - 1 }
 * })
 *
 * Decision.fold(Free({ course: "c-1" }), [
 *   Defined.make({ course: "c-1", seats: 3 }),
 *   Subscribed.make({ course: "c-1", student: "ada" }),
 *   Subscribed.make({ course: "c-2", student: "ada" }) // of another course
 * ]) // => 2
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <
  const Events extends ReadonlyArray<Event.Any>,
  Initial,
  const S extends Aggregate.StateSchema,
  const Tags extends { readonly [name: string]: Tag.Any } = {}
>(
  name: string,
  options: Options<Tags, Events, Initial, S>
): Model<Tags, Events, Aggregate.StateOf<S, Initial>> => {
  type State = Aggregate.StateOf<S, Initial>
  const { read = "all", tags } = options
  const events: Events = options.events
  if (name === "") throw new RangeError("Decision: the name of a model must not be empty")
  const types = new Set<string>()
  for (const { type } of events) {
    if (types.has(type)) throw new RangeError(`Decision "${name}": the event type "${type}" is listed twice`)
    types.add(type)
  }
  Aggregate.checkInitial(`Decision "${name}"`, options.state, options.initial)
  const own = [...definitionsOf(events).values()]
  const fold: Fold = {
    name,
    read,
    initial: freeze(options.initial),
    // By the types of `Events`.
    evolve: options.evolve as unknown as Fold["evolve"],
    events: own,
    types: Event.storedTypes(...own),
    readers: readersOf(`Decision "${name}"`, events)
  }
  const bound = (values: { readonly [name: string]: unknown } = {}): Boundary<State, Events[number]> => {
    const made = Result.all(Object.entries(tags).map(([key, tag]) => tag.encode(values[key])))
    const part: Part = {
      _tag: "Model",
      fold,
      tags: Result.mapError(made, ({ problem, tag }) => new Tag.TagError({ tag, model: name, problem })),
      ignored: []
    }
    return makeBoundary([part], fold.events, fold.events, ([state]) => state as State)
  }
  Object.defineProperty(bound, "name", { value: name })
  // A function of the values of its tags, where it has any.
  return Object.assign(bound, { tags, events, initial: fold.initial, read }) as unknown as Model<Tags, Events, State>
}
