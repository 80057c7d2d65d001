/**
 * What the conformance suites are made of. A suite is a list of definitions: sentences, each with what it needs and a body. An
 * adapter says how its storage is made and what it can do, and gets the cases that it must pass.
 *
 * The definitions of a suite are values in a file for each promise; nothing is registered anywhere.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

/**
 * One thing that an adapter must do. It fails or dies (with an `AssertionError`) when the adapter does not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** A sentence, unique among the cases. */
  readonly name: string
  /** Makes storage of its own, so cases may run in any order and at once. All is closed with the scope. */
  readonly run: Effect.Effect<void, unknown, Scope.Scope>
}

/** What a case is told with: each `open` connects anew to the storage of the case, until the scope that it is given closes. */
export interface World<A> {
  readonly open: Effect.Effect<A, unknown, Scope.Scope>
}

/** A case of which nobody has said yet what it runs on. */
export interface Definition<W, Need extends string> {
  readonly name: string
  /** It is among the cases of those adapters alone that have all of these. */
  readonly needs: ReadonlyArray<Need>
  readonly run: (world: W) => Effect.Effect<void, unknown, Scope.Scope>
}

/** What happens in a case: it is given what it works on, and the world for what else it has to know. */
type Body<A, W> = (input: A, world: W) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

/** What makes a definition: the title, the body, and what it needs. */
type Word<A, W, Need extends string> = (name: string, body: Body<A, W>, ...needs: ReadonlyArray<Need>) => Definition<W, Need>

/** The words in which the definitions of a suite are written. */
export interface Words<A, W extends World<A>, Need extends string> {
  /** A case that is given what it works on. */
  readonly every: Word<A, W, Need>
  /** A case that opens its storage itself. */
  readonly opened: Word<W["open"], W, Need>
  /** The same, and finds again what was there before it closed: needs `durable`. */
  readonly reopened: Word<W["open"], W, Need>
  /** A case with two connections to one storage at once: needs `shared`. */
  readonly shared: Word<readonly [A, A], W, Need>
}

/** The words of a suite. `afterwards` runs at the end of each case that did not open its storage itself, on all that was opened. */
export const words = <A, W extends World<A>, Need extends string = never>(
  afterwards: (input: A) => Effect.Effect<unknown, unknown, Scope.Scope> = () => Effect.void
): Words<A, W, Need | "durable" | "shared"> => ({
  every: (name, body, ...needs) => ({
    name,
    needs,
    run: (world) =>
      Effect.flatMap(world.open, (input) =>
        Effect.andThen(
          Effect.gen(() => body(input, world)),
          afterwards(input)
        )
      )
  }),
  opened: (name, body, ...needs) => ({ name, needs, run: (world) => Effect.gen(() => body(world.open, world)) }),
  reopened: (name, body, ...needs) => ({
    name,
    needs: ["durable", ...needs],
    run: (world) => Effect.gen(() => body(world.open, world))
  }),
  shared: (name, body, ...needs) => ({
    name,
    needs: ["shared", ...needs],
    run: (world) =>
      Effect.gen(function* () {
        const both = [yield* world.open, yield* world.open] as const
        yield* Effect.gen(() => body(both, world))
        yield* Effect.forEach(both, afterwards, { discard: true })
      })
  })
})

/** The cases that an adapter must pass: each runs in a world of its own, on new storage. */
export const cases = <I, W, Need extends string>(
  definitions: ReadonlyArray<Definition<W, Need>>,
  adapter: {
    readonly storage: Effect.Effect<Layer.Layer<I, unknown>, unknown, Scope.Scope>
    /** Whether the adapter can do it. */
    readonly can: (need: Need) => boolean
    readonly world: (layer: Layer.Layer<I, unknown>) => W
  }
): ReadonlyArray<Case> =>
  definitions
    .filter(({ needs }) => needs.every(adapter.can))
    .map(({ name, run }) => ({ name, run: Effect.flatMap(adapter.storage, (layer) => run(adapter.world(layer))) }))

/** Builds the Layer until the scope closes: each time with a new memo map, so that whatever it is made of is built anew too. */
export const build = <I, S>(layer: Layer.Layer<I, unknown>, key: Context.Key<I, S>): Effect.Effect<S, unknown, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) =>
    Effect.map(Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope), Context.get(key))
  )

/** The whole numbers from one to another, both of them included. */
export const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index)

/** Lets other fibers, and what the machine has to do, come to their turn. */
export const turns = (count: number): Effect.Effect<void> =>
  Effect.forEach(range(1, count), () => Effect.yieldNow, { discard: true })
