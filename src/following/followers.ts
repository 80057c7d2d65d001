/**
 * Who follows in this process, by name: how `Subscription.status`, `Relay.pause` and the like find whom they are about.
 *
 * A registry belongs to the instance of the service by which the names are kept apart: the `Checkpoints` of what follows the log, the
 * `Transport` of what consumes. Programs in one process with instances of their own see nothing of each other, nor do two tenants in
 * one program; it is found through the instance in the context, so nobody has to provide anything; and it is gone with the instance.
 * Where a Layer hides the instance, what the Layer puts into the context tells of it instead. A registry may also be provided: to
 * what shares an instance and shall be as two processes.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Name } from "./follower.ts"

/** What all that is registered has in common. */
export interface Registered {
  /** The instance of the service by which names are kept apart. */
  readonly home: object
  /** What it is, for whoever gives its name to something else. */
  readonly about: string
  readonly isStopped: () => boolean
}

/** Followers by their names. */
export type Registry<F> = Map<string, F>

/** What finds followers, and registers them. */
export interface Registries<F extends Registered> {
  /** A registry that is used in place of the instance's own. */
  readonly Provided: Context.Reference<Registry<F> | undefined>
  /** Adds a follower. A defect when another with the same name, of the same instance, has not stopped. Gives its registry. */
  readonly register: (name: string, follower: F) => Effect.Effect<Registry<F>>
  /** Puts what is left of a follower in its place, where no other has its name by now. */
  readonly leave: (registry: Registry<F>, name: string, follower: F, left: F) => Effect.Effect<void>
  /** Forgets the follower of this name, if it has stopped. */
  readonly forget: (name: string, home: object | undefined) => Effect.Effect<void>
  /** The follower of this name, as far as it can be seen from here. */
  readonly find: (name: string, home: object | undefined) => Effect.Effect<F | undefined>
  /** All that can be seen from here, by name. */
  readonly all: (home: object | undefined) => Effect.Effect<ReadonlyMap<string, F>>
  /** What a Layer puts into the context, for those to whom the instance is hidden. */
  readonly seenFrom: (registry: Registry<F>) => Context.Context<never>
}

/** Makes the registries of one kind of followers, under a key of their own. */
export const makeRegistries = <F extends Registered>(key: string): Registries<F> => {
  const Provided = Context.Reference<Registry<F> | undefined>(key, { defaultValue: () => undefined })
  const Seen = Context.Reference<Registry<F> | undefined>(`${key}/Seen`, { defaultValue: () => undefined })
  // The state of instances, kept beside them: an adapter knows nothing of it.
  const own = new WeakMap<object, Registry<F>>()
  const registryOf = (home: object): Registry<F> => {
    const known = own.get(home)
    if (known !== undefined) return known
    const made: Registry<F> = new Map()
    own.set(home, made)
    return made
  }
  return {
    Provided,
    register: Effect.fnUntraced(function* (name, follower) {
      const registry = (yield* Provided) ?? registryOf(follower.home)
      const before = registry.get(name)
      if (before !== undefined && before !== follower && before.home === follower.home && !before.isStopped()) {
        return yield* Effect.die(
          new Error(
            `Two followers of one name would run in this process: ${before.about}, and ${follower.about}. Only one of them would ever work. Give one of them another name, or end it first.`
          )
        )
      }
      registry.set(name, follower)
      return registry
    }),
    leave: (registry, name, follower, left) =>
      Effect.sync(() => {
        if (registry.get(name) === follower) registry.set(name, left)
      }),
    forget: Effect.fnUntraced(function* (name, home) {
      const provided = yield* Provided
      const registries = provided === undefined ? [home === undefined ? undefined : own.get(home), yield* Seen] : [provided]
      for (const registry of registries) if (registry?.get(name)?.isStopped() === true) registry.delete(name)
    }),
    find: Effect.fnUntraced(function* (name, home) {
      const provided = yield* Provided
      if (provided !== undefined) return provided.get(name)
      const here = home === undefined ? undefined : own.get(home)?.get(name)
      return here ?? (yield* Seen)?.get(name)
    }),
    all: Effect.fnUntraced(function* (home) {
      const provided = yield* Provided
      if (provided !== undefined) return provided
      const here = home === undefined ? undefined : own.get(home)
      return new Map([...((yield* Seen) ?? []), ...(here ?? [])])
    }),
    seenFrom: (registry) => Context.make(Seen, registry)
  }
}

/** How something that follows is steered. */
export interface Controls<S> {
  readonly status: SubscriptionRef.SubscriptionRef<S>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

/** The status, now and whenever it changes. Never ends. */
export const changesOf = <S>({ status }: Pick<Controls<S>, "status">): Stream.Stream<S> => SubscriptionRef.changes(status)

/** Whether a status is that of something that has stopped. */
export const stoppedBy =
  <S extends { readonly state: Name }>(status: SubscriptionRef.SubscriptionRef<S>): (() => boolean) =>
  () =>
    SubscriptionRef.getUnsafe(status).state === "stopped"
