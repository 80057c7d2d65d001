/** The price that was displayed counts as long as it is current, or was ten minutes ago; for several products in one order. */
import { Clock, Effect, Schema } from "effect"
import { Decision, Event, Tag } from "eventfold"

const product = Tag.make("product")
const order = Tag.make("order")

const priced = { product: Schema.String, price: Schema.Int, at: Schema.Int }
const ProductDefined = Event.make("ProductDefined", priced, { tags: (e) => [product(e.product)] })
const PriceChanged = Event.make("PriceChanged", priced, { tags: (e) => [product(e.product)] })
const Line = Schema.Struct({ product: Schema.String, price: Schema.Int })
export const Ordered = Event.make(
  "ProductsOrdered",
  { order: Schema.String, lines: Schema.Array(Line) },
  { tags: (e) => [order(e.order)] }
)

const Prices = Decision.make("Prices", {
  tags: { product },
  events: [ProductDefined, PriceChanged],
  state: Schema.Struct({
    current: Schema.UndefinedOr(Schema.Int),
    before: Schema.Array(Schema.Struct({ price: Schema.UndefinedOr(Schema.Int), until: Schema.Int }))
  }),
  initial: { current: undefined, before: [] },
  evolve: {
    ProductDefined: (_, { price }) => ({ current: price, before: [] }),
    PriceChanged: ({ before, current }, { at, price }) => ({
      current: price,
      before: [...before, { price: current, until: at }]
    })
  }
})
const Known = Decision.make("Known", {
  tags: { order },
  events: [Ordered],
  initial: false,
  evolve: { ProductsOrdered: () => true }
})

export class Outdated extends Schema.TaggedError<Outdated>()("Outdated", { product: Schema.String }) {}

export const place = (id: string, lines: ReadonlyArray<typeof Line.Type>) => {
  const priced = lines.map((line) => Decision.map(Prices({ product: line.product }), (prices) => ({ ...line, ...prices })))
  return Decision.execute(
    Decision.all({
      known: Known({ order: id }),
      // A new price leaves the old one valid for a while, so it does not spoil the order.
      priced: Decision.all(priced).pipe(Decision.ignoring(PriceChanged))
    }),
    `Order-${id}`,
    Effect.fnUntraced(function* ({ known, priced }) {
      if (known) return []
      const now = yield* Clock.currentTimeMillis
      for (const { before, current, price, product } of priced) {
        const valid = price === current || before.some((old) => old.price === price && now - old.until < 10 * 60_000)
        if (!valid) return yield* new Outdated({ product })
      }
      return [Ordered.make({ order: id, lines })]
    })
  )
}

export const define = (id: string, price: number) =>
  Decision.execute(Prices({ product: id }), `Product-${id}`, () =>
    Effect.map(Clock.currentTimeMillis, (at) => [ProductDefined.make({ product: id, price, at })])
  )

export const change = (id: string, price: number) =>
  Decision.execute(Prices({ product: id }), `Product-${id}`, () =>
    Effect.map(Clock.currentTimeMillis, (at) => [PriceChanged.make({ product: id, price, at })])
  )
