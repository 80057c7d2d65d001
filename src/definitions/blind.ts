import type * as Schema from "effect/Schema"
import * as Event from "./Event.ts"
import { blindSchema, type Forgotten, type Holds, type Withheld } from "./personalField.ts"

/**
 * The fields of an event as they are to who does not see what is personal in it.
 *
 * @category models
 * @since 0.2.0
 */
export type BlindFields<F> = {
  readonly [P in keyof F as P extends "_tag" ? never : P]: BlindSchema<F[P]>
}

type AsFields<F> = F extends Event.Fields ? F : never
type AsSchema<S> = S extends Event.Fields[string] ? S : never
type AsSchemas<S> = S extends ReadonlyArray<Event.Fields[string]> ? S : never

/** A Schema as it is to who does not see what is personal in it. */
type BlindSchema<S> = S extends { readonly "~personal": unknown }
  ? Schema.Codec<Withheld | Forgotten, unknown>
  : Holds<S> extends true
    ? S extends { readonly fields: infer Inner }
      ? Schema.Struct<AsFields<BlindFields<Inner>>>
      : S extends Schema.optionalKey<infer Inner>
        ? Schema.optionalKey<AsSchema<BlindSchema<Inner>>>
        : S extends Schema.Union<infer Members>
          ? Schema.Union<AsSchemas<BlindSchemas<Members>>>
          : S extends Schema.Tuple<infer Elements>
            ? Schema.Tuple<AsSchemas<BlindSchemas<Elements>>>
            : S extends Schema.NonEmptyArray<infer Inner>
              ? Schema.NonEmptyArray<AsSchema<BlindSchema<Inner>>>
              : S extends Schema.$Array<infer Inner>
                ? Schema.$Array<AsSchema<BlindSchema<Inner>>>
                : S extends Schema.$Record<infer Key, infer Inner>
                  ? Schema.$Record<Key, AsSchema<BlindSchema<Inner>>>
                  : S extends { readonly from: infer Inner } | { readonly schema: infer Inner }
                    ? BlindSchema<Inner>
                    : S
    : S

type BlindSchemas<All> = { readonly [N in keyof All]: BlindSchema<All[N]> }

/**
 * An event for readers that need nothing of what is personal in it, or are not entitled to it: its personal fields are `Withheld`, or `Forgotten`
 * where that is known. Over `Personal.layerSealed` such a reader needs no keys, and is about three times as fast. It reads, and writes nothing.
 *
 * ```ts
 * import { Effect, Layer, Result, Schema, Stream } from "effect"
 * import { Event, EventStore, Keys, Personal } from "eventfold"
 *
 * const Registered = Event.make("Registered", {
 *   customer: Schema.String,
 *   email: Personal.field(Schema.String, { subject: "customer" })
 * })
 * const Counted = Personal.blind(Registered)
 *
 * const program = Effect.gen(function* () {
 *   const event = yield* Effect.fromResult(Event.encode(Registered, Registered.make({ customer: "c1", email: "ada@example.org" })))
 *   yield* EventStore.append("Customer-c1", [event])
 *   return yield* EventStore.readAll().pipe(
 *     Stream.mapEffect((recorded) => Effect.fromResult(Event.decode(Counted, recorded))),
 *     Stream.runCollect,
 *     Effect.provide(Personal.layerSealed)
 *   )
 * })
 *
 * const Live = Personal.layer.pipe(
 *   Layer.provide([EventStore.layerMemory, Keys.layerMemory]),
 *   Layer.provide(Personal.layerCrypto)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [{ _tag: "Registered", customer: "c1", email: { _tag: "Withheld" } }]
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const blind = <const Tag extends string, F extends Event.Fields, Published extends boolean>(
  definition: Event.Event<Tag, F, Published>
): Event.Event<Tag, AsFields<BlindFields<F>>, Published, never> => {
  const { aliases, from, published, type, upcasts, version } = definition
  const fields = Object.fromEntries(
    Object.entries(definition.fields)
      .filter(([name]) => name !== "_tag")
      .map(([name, schema]) => [name, blindSchema(schema)])
  )
  // The fields are the same under other Schemas, which `BlindFields` says.
  return Event.make(type, fields, { version, published, upcast: upcasts, aliases, from }) as unknown as Event.Event<
    Tag,
    AsFields<BlindFields<F>>,
    Published,
    never
  >
}
