/** Two tenants who do the same at random, at once, under the same names: what one does, the other never sees. */
import assert from "node:assert/strict"
import { Effect, Fiber, Latch, Layer, Option, Stream } from "effect"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import { eventually } from "./words.ts"

type Store = EventStore.EventStore["Service"]

/** Numbers that are the same each time. */
const seeded = (seed: number) => {
  let state = seed
  return (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >>> 8) % below
  }
}

const streams = ["Account-1", "Account-2", "Order-1", "Order", "a"]
const tags = ["t", "u", "course:1"]
const types = ["Opened", "Paid", "Closed"]

/** Every event says whose it is, in its payload: that is what is looked for. */
const own = (who: string, event: { readonly payload: unknown }) =>
  assert.deepEqual((event.payload as { readonly who: string }).who, who)

/** One of the public operations, with input at random. What it gives must be the tenant's. */
const act = (store: Store, who: string, draw: (below: number) => number, nth: number): Effect.Effect<unknown, unknown> => {
  const any = <A>(all: ReadonlyArray<A>): A => all[draw(all.length)] as A
  const event = () => ({
    id: `e${draw(40)}`,
    type: any(types),
    payload: { who, nth: draw(3) },
    tags: draw(2) === 0 ? [] : [any(tags)],
    metadata: { correlationId: any(["c", "d"]) },
    published: draw(2) === 0
  })
  const filter = (): EventStore.Query => {
    const queries: ReadonlyArray<EventStore.Query> = [
      {},
      { types: [any(types)] },
      { tags: [any(tags)] },
      { tags: [any(tags), any(tags)] },
      { categories: [any(["Account", "Order", "a"])] },
      { correlationId: "c" },
      { published: true },
      { categories: ["Account"], types: [any(types)], correlationId: "d" }
    ]
    return any(queries)
  }
  const all = (events: Stream.Stream<{ readonly payload: unknown }, unknown>) =>
    Effect.map(Stream.runCollect(events), (found) => found.forEach((event) => own(who, event)))
  const direction = () => any(["forward", "backward"] as const)
  switch (draw(11)) {
    case 0:
    case 1:
    case 2:
      return Effect.result(store.append(any(streams), [event()], { expected: any(["any", "exists", "no-stream", nth] as const) }))
    case 3:
      return Effect.result(
        store.appendAll(
          [
            { stream: any(streams), events: [{ ...event(), id: `f${nth}` }] },
            { stream: any(streams), events: [] }
          ],
          { unless: { filter: filter() } }
        )
      )
    case 4:
      return all(store.read(any(streams), { direction: direction(), limit: 1 + draw(50) }))
    case 5:
      return all(store.readAll({ filter: filter(), direction: direction(), limit: 1 + draw(50) }))
    case 6:
      return Effect.map(store.readPage({ filter: filter(), after: draw(50) }), ({ events }) =>
        events.forEach((one) => own(who, one))
      )
    case 7:
      return Effect.map(store.readBoundary([{ filter: filter() }, { filter: filter(), newest: true }]), ({ answers }) =>
        answers.forEach(({ events }) => events.forEach((one) => own(who, one)))
      )
    case 8:
      return Effect.map(store.find(`e${draw(40)}`), (found) => Option.map(found, (one) => own(who, one)))
    case 9:
      return Effect.gen(function* () {
        const stream = any(streams)
        const [version, exists] = [yield* store.version(stream), yield* store.exists(stream)]
        assert.ok(!exists || version >= 0)
      })
    default:
      return Stream.runCollect(store.streams(draw(2) === 0 ? {} : { category: "Account" }))
  }
}

/** What a tenant has, without positions and times: those are the store's. */
const contents = Effect.fnUntraced(function* (store: Store) {
  const events = yield* Stream.runCollect(store.readAll())
  const listed = yield* Stream.runCollect(store.streams())
  return {
    events: events.map(({ id, metadata, payload, published, stream, tags, type, version }) => ({
      id,
      metadata,
      payload,
      published,
      stream,
      tags,
      type,
      version
    })),
    streams: listed.map(({ category, stream, version }) => ({ category, stream, version }))
  }
})

/**
 * Lets tenants of one store act at random and at once, and holds that each has what it would have if it were alone, event for event: neither
 * sees a row of the other, and nothing that one does decides what becomes of another's append.
 */
export const assertIsolated = (
  shared: Readonly<Record<string, Store>>,
  { seed, steps }: { readonly seed: number; readonly steps: number }
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const watching = yield* Effect.forEach(Object.entries(shared), ([who, store]) =>
      Effect.forkChild(
        Stream.runForEach(store.subscribe(), (event) => Effect.sync(() => own(who, event))),
        { startImmediately: true }
      )
    )
    const run = (store: Store, who: string, draw: (below: number) => number) =>
      Effect.forEach(
        Array.from({ length: steps }, (_, nth) => nth),
        (nth) => act(store, who, draw, nth),
        { discard: true }
      )
    yield* Effect.forEach(Object.entries(shared), ([who, store], index) => run(store, who, seeded(seed + index)), {
      concurrency: "unbounded",
      discard: true
    })
    for (const fiber of watching) {
      const ended = fiber.pollUnsafe()
      assert.equal(ended, undefined, `a subscription has seen what is another's: ${String(ended)}`)
      yield* Fiber.interrupt(fiber)
    }
    for (const [index, [who, store]] of Object.entries(shared).entries()) {
      const alone = yield* EventStore.makeMemory
      yield* run(alone, who, seeded(seed + index))
      const expected = yield* contents(alone)
      assert.ok(expected.events.length > 10)
      assert.deepEqual(yield* contents(store), expected)
    }
  })

/** A follower of one tenant that runs while another writes, and is started again, goes on: its checkpoint is never ahead of the tenant's log. */
export const assertFollows = (store: Store, other: Store) =>
  Effect.gen(function* () {
    const event = { type: "Noted", payload: {} }
    const seen: Array<string> = []
    const checkpoints = yield* Checkpoints.makeMemory
    for (let round = 1; round <= 3; round++) {
      const [begun, go] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
      const notes = Subscription.layer({
        name: "notes",
        handler: ({ id }) =>
          Effect.gen(function* () {
            begun.openUnsafe()
            yield* go.await
            seen.push(id)
          })
      })
      yield* store.append("A-1", [{ ...event, id: `own-${round}` }])
      yield* Effect.gen(function* () {
        yield* Layer.build(Layer.fresh(notes))
        yield* begun.await
        // What comes next is told together: the tenant's own, and what others have written behind it.
        yield* store.append("A-1", [{ ...event, id: `more-${round}` }])
        for (let n = 0; n < 5; n++) yield* other.append("A-1", [event])
        const head = yield* store.head
        go.openUnsafe()
        yield* eventually(
          "it has come up with the tenant's log",
          Effect.map(checkpoints.list, ([checkpoint]) => (checkpoint?.position ?? 0) >= head)
        )
      }).pipe(
        Effect.scoped,
        Effect.provideService(EventStore.EventStore, store),
        Effect.provideService(Checkpoints.Checkpoints, checkpoints),
        Effect.provideService(Subscription.Registry, new Map())
      )
      const [checkpoint] = yield* checkpoints.list
      assert.equal(checkpoint?.position, yield* store.head)
    }
    assert.deepEqual(seen, ["own-1", "more-1", "own-2", "more-2", "own-3", "more-3"])
  })
