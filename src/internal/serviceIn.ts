import * as Context from "effect/Context"

/** What stands under a key of a context, whether the type of the context says so or not. */
export const serviceIn = <I, S>(context: Context.Context<never>, key: Context.Key<I, S>): S | undefined =>
  Context.getOrUndefined(context as Context.Context<I>, key)
