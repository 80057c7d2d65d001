/**
 * What all definitions can be told beside what they are made of: notes that eventfold itself does not read.
 */
import * as Context from "effect/Context"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type { NoInfer } from "effect/Types"

/**
 * A definition that can be annotated, as those of `effect/rpc` and `effect/workflow` can: for what a program of one's own reads off it, such as
 * who is responsible, or what is to be audited. No annotation is stored, and none changes what the definition does: a copy that is
 * annotated and the definition that it is a copy of are one, wherever definitions are told apart.
 *
 * ```ts
 * import { Context, Effect, Schema } from "effect"
 * import { Aggregate, Event, Subscription } from "eventfold"
 *
 * const Audited = Context.Reference("app/Audited", { defaultValue: () => false })
 *
 * const Opened = Event.make("Opened", { owner: Schema.String })
 * const Closed = Event.make("Closed", { why: Schema.String }).annotate(Audited, true)
 *
 * const Account = Aggregate.make("Account", {
 *   events: [Opened, Closed],
 *   initial: "none",
 *   evolve: { Opened: () => "open", Closed: () => "closed" }
 * })
 *
 * // Follows whatever is marked, of all aggregates that there will ever be.
 * const audit = (...aggregates: ReadonlyArray<Aggregate.Any>) =>
 *   aggregates.flatMap(({ events }) => events).filter(({ annotations }) => Context.get(annotations, Audited))
 *
 * const AuditLive = Subscription.layer({
 *   name: "audit",
 *   filter: { types: Event.storedTypes(...audit(Account)) },
 *   handler: ({ stream, type }) => Effect.log(`${type} in ${stream}`)
 * })
 *
 * audit(Account).map(({ type }) => type) // => ["Closed"]
 * ```
 *
 * @category models
 * @since 0.2.0
 */
export interface Definition extends Pipeable {
  /** What it has been annotated with. */
  readonly annotations: Context.Context<never>
  /** A copy that is annotated with the value of a service or a reference, in place of the one that it may have. */
  annotate<I, S>(key: Context.Key<I, S>, value: NoInfer<S>): this
  /** A copy with these annotations as well, in place of those of the same keys. */
  annotateMerge<I>(annotations: Context.Context<I>): this
}

/** No annotation has a type of its own once it stands among others. */
const merged = <I>(annotations: Context.Context<never>, more: Context.Context<I>) =>
  Context.merge(annotations, more) as Context.Context<never>

/** Of every definition that is a plain object: its own, so that what is spread of it can be annotated as well. */
const own: Definition = {
  annotations: Context.empty(),
  pipe() {
    return pipeArguments(this, arguments)
  },
  annotate(key, value) {
    return { ...this, annotations: merged(this.annotations, Context.make(key, value)) }
  },
  annotateMerge(more) {
    return { ...this, annotations: merged(this.annotations, more) }
  }
}

/** A definition that is a plain object. */
export const annotatable = <D extends Definition>(members: Omit<D, keyof Definition>): D => ({ ...members, ...own }) as D

/** A definition that is a Schema, which has `pipe`: with one argument, `annotate` is Schema's own. The Schema stays as it is. */
export const annotatableSchema = <const M extends object>(
  schema: Schema.Top,
  members: M,
  annotations: Context.Context<never> = Context.empty()
): Schema.Top & M & Pick<Definition, "annotations" | "annotateMerge"> => {
  const annotateMerge = <I>(more: Context.Context<I>) => annotatableSchema(schema, members, merged(annotations, more))
  // The same Schema, with the members.
  return Object.assign(schema.rebuild(schema.ast), members, {
    annotations,
    annotateMerge,
    annotate: (
      ...args: readonly [own: Schema.Annotations.Annotations] | readonly [key: Context.Key<unknown, unknown>, value: unknown]
    ) => (args.length === 1 ? schema.annotate(args[0]) : annotateMerge(Context.make(args[0], args[1])))
  }) as never
}
