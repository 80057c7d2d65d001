/** What is emitted bears the names of OpenTelemetry's newest conventions, or names of eventfold's own that the guide lists. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Schedule, Schema, Stream } from "effect"
import {
  Aggregate,
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  Relay,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { logs } from "./support/logs.ts"
import { until } from "./support/words.ts"
import { recordingSpans } from "./support/spans.ts"

const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })
const Order = Aggregate.make("Order", {
  events: [Placed],
  initial: 0,
  evolve: { Placed: (sum, { total }) => sum + total }
})
const Place = Command.make("Place", { payload: { total: Schema.Int } })

const stores = Layer.mergeAll(
  EventStore.layerMemory,
  Transport.layerMemory,
  Checkpoints.layerMemory,
  DeadLetters.layerMemory,
  ParkedEvents.layerMemory
)
const bus = Layer.mergeAll(
  MessageBus.handle(Place, ({ total }) =>
    Effect.asVoid(Repository.execute(Order, "1", () => Effect.succeed([Placed.make({ total })])))
  ),
  MessageBus.listen(Placed, () => Effect.void)
).pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(stores))

/** Everything that is measured or traced, once: what succeeds, and what does not. */
const everything = Effect.gen(function* () {
  yield* MessageBus.execute(Place, { total: 1 })
  yield* MessageBus.execute(Place, { total: 2 })
  const handled: Array<number> = []
  yield* Layer.build(
    Subscription.layer({
      name: "mails",
      events: [Placed],
      partitions: 2,
      onFailure: "park",
      retry: Schedule.recurs(0),
      handlers: {
        Placed: ({ total }) => (total === 1 ? Effect.fail("no") : Effect.sync(() => handled.push(total)))
      }
    })
  )
  yield* Relay.drain({ name: "shop" })
  const consuming = yield* Effect.forkChild(
    Consumer.run(
      [Placed],
      { Placed: ({ total }) => (total === 1 ? Effect.fail("no") : Effect.sync(() => handled.push(total))) },
      { group: "ledger", maxAttempts: 1 }
    )
  )
  yield* until(() => handled.length === 2)
  yield* Fiber.interrupt(consuming)
  assert.equal((yield* Stream.runCollect(EventStore.read("Order-1"))).length, 2)
}).pipe(Effect.scoped)

/** The names of a package of conventions that are no longer to be used, by its declarations. */
const conventions = () => {
  const file = fileURLToPath(import.meta.resolve("@opentelemetry/semantic-conventions/incubating"))
  const folder = file.slice(0, file.lastIndexOf("/") + 1)
  const text = ["stable", "experimental"]
    .flatMap((kind) => ["attributes", "metrics"].map((what) => readFileSync(`${folder}${kind}_${what}.d.mts`, "utf8")))
    .join("\n")
  const names = new Map<string, boolean>()
  for (const [, comment = "", name = ""] of text.matchAll(
    /\/\*\*((?:(?!\*\/)[^])*)\*\/\s*declare const (?:ATTR|METRIC)_\w+: "([^"]+)"/g
  )) {
    names.set(name, comment.includes("@deprecated"))
  }
  return names
}

it.effect("every attribute and metric has a name of the newest conventions, or one of eventfold's own that the guide lists", () =>
  Effect.gen(function* () {
    logs(/parked/, /is a dead letter/)
    const { spans, tracer } = recordingSpans()
    yield* Effect.provide(everything, bus).pipe(Effect.withTracer(tracer))
    const attributes = new Set(spans.flatMap(({ attributes }) => Array.from(attributes.keys())))
    const metrics = new Set((yield* Metric.snapshot).map(({ id }) => id))
    const known = conventions()
    const guide = readFileSync(new URL("../src/guides/production.md", import.meta.url), "utf8")
    const listed = new Set(Array.from(guide.matchAll(/`((?:eventfold|messaging)[._][a-z_.]+)`/g), ([, name]) => name))

    assert.equal(known.get("messaging.system.name"), false)
    assert.equal(known.get("messaging.system"), true)
    assert.ok(attributes.has("messaging.system.name") && attributes.has("messaging.consumer.group.name"))
    assert.ok(attributes.has("messaging.destination.partition.id") && attributes.has("eventfold.relay"))
    assert.ok(metrics.has("eventfold_bus_messages") && metrics.has("eventfold_consumer_dead_letters"))
    for (const name of attributes) {
      if (name.startsWith("eventfold.")) assert.equal(known.has(name), false, name)
      else assert.equal(known.get(name), false, `${name} is no attribute of the conventions, or one that is deprecated`)
      assert.ok(listed.has(name), `the guide does not list the attribute ${name}`)
    }
    for (const name of metrics) {
      if (!name.startsWith("eventfold_")) assert.equal(known.get(name), false, `${name} is no metric of the conventions`)
      else assert.ok(listed.has(name), `the guide does not list the metric ${name}`)
    }
  })
)
