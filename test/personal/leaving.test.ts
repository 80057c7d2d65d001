/** Where personal data leave the store: relays, what people are shown, names made of them, answers and views. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Cause, DateTime, Effect, Fiber, Layer, Logger, Redacted, Schema, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import { describe } from "vitest"
import {
  Aggregate,
  Answers,
  AuditTrail,
  Checkpoints,
  Command,
  Event,
  EventStore,
  Keys,
  MessageBus,
  ParkedEvents,
  Personal,
  Projection,
  Relay,
  Transport,
  UnitOfWork
} from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { inspect } from "node:util"
import { temporaryDirectory } from "../support/files.ts"
import { logs } from "../support/logs.ts"
import { eventually, start } from "../support/words.ts"

const planted = "ada-planted@example.org"

/** The number as a value: what is sealed, and an id, may have such digits by chance. */
const phone = /[:\s"[]4711/

const Registered = Event.make(
  "Registered",
  {
    customer: Schema.String,
    email: Personal.field(Schema.String, { subject: "customer" }),
    plan: Schema.String,
    contacts: Schema.Array(
      Schema.Struct({ person: Schema.String, phone: Personal.field(Schema.Struct({ at: Schema.Int }), { subject: "person" }) })
    )
  },
  { published: true }
)

const Customer = Aggregate.make("Customer", { events: [Registered], initial: 0, evolve: { Registered: (count) => count + 1 } })

const append = (customer: string) =>
  Effect.gen(function* () {
    const event = Registered.make({ customer, email: planted, plan: "free", contacts: [{ person: "p1", phone: { at: 4711 } }] })
    yield* EventStore.append(`Customer-${customer}`, [yield* Effect.fromResult(Event.encode(Registered, event))])
  })

const Log = Personal.layer.pipe(
  Layer.provideMerge(Keys.layerMemory),
  Layer.provideMerge(Personal.layerCrypto),
  Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
)

const received = (count: number, group = "all") =>
  Transport.subscribe({ group }).pipe(
    Stream.tap(({ ack }) => ack),
    Stream.map(({ message }) => message.data),
    Stream.take(count),
    Stream.runCollect
  )

describe("a relay", () => {
  const relayed = (personal: "sealed" | "open" | "omit" | undefined) =>
    Effect.gen(function* () {
      yield* append("c1")
      yield* append("c2")
      yield* Personal.forget("c2")
      yield* start(Relay.layer({ name: "shop", filter: { types: ["Registered"] }, personal }))
      return yield* received(2)
    }).pipe(Effect.provide(Layer.provideMerge(Transport.layerMemory, Log)), Effect.scoped)

  it.live("sends personal data in the open where it is told to, and nothing in the place of what is forgotten", () =>
    Effect.gen(function* () {
      const contacts = [{ person: "p1", phone: { at: 4711 } }]
      assert.deepEqual(yield* relayed("open"), [
        { customer: "c1", email: planted, plan: "free", contacts },
        { customer: "c2", email: null, plan: "free", contacts }
      ])
    })
  )

  it.live("keeps and tells nothing of what a broker quotes when it refuses a message, or is away", () =>
    Effect.gen(function* () {
      logs(/has parked it/, /failed and starts again/)
      const lines: Array<string> = []
      const Lines = Logger.layer(
        [
          Logger.make(
            ({ cause, message }) =>
              void lines.push([message].flat().join(" "), Cause.pretty(cause), inspect(cause, { depth: 12 }))
          )
        ],
        { mergeWithExisting: true }
      )
      const Quoting = Layer.effect(
        Transport.Transport,
        Effect.gen(function* () {
          const transport = yield* Transport.Transport
          let calls = 0
          return {
            ...transport,
            publish: (messages: ReadonlyArray<Transport.Message>) =>
              Effect.suspend(() => {
                const [{ data, id }] = messages as readonly [Transport.Message]
                const detail = `it quotes ${JSON.stringify(data)}`
                const cause = new Error(detail)
                const reason =
                  ++calls === 1
                    ? new Transport.TransportUnavailable({ operation: "publish", detail, cause })
                    : new Transport.MessageRefused({ operation: "publish", id, detail, cause })
                return Effect.fail(new Transport.TransportError({ reason }))
              })
          }
        })
      ).pipe(Layer.provide(Transport.layerMemory))
      yield* Effect.gen(function* () {
        yield* append("c1")
        const relay = Relay.layer({ name: "shop", filter: { types: ["Registered"] }, personal: "open", onRefused: "park" })
        yield* Layer.build(Layer.fresh(relay))
        const statuses = yield* Effect.forkScoped(
          Stream.runCollect(Stream.takeUntil(Relay.changes("shop"), ({ position }) => position > 0))
        )
        const parked = yield* ParkedEvents.ParkedEvents
        const all = yield* eventually(
          "it is parked",
          Effect.map(parked.list("relay:shop"), (all) => all.length > 0)
        ).pipe(Effect.andThen(parked.list("relay:shop")))
        assert.match(all[0]?.cause ?? "", /MessageRefused during publish/)
        const told = JSON.stringify(all) + lines.join() + inspect(yield* Fiber.join(statuses), { depth: 12 })
        assert.match(told, /it quotes/)
        assert.ok(!told.includes(planted) && !phone.test(told), told)
      }).pipe(
        Effect.provide(Layer.mergeAll(Lines, Quoting, ParkedEvents.layerMemory).pipe(Layer.provideMerge(Log))),
        Effect.scoped
      )
    })
  )

  it.live("leaves them out where it is told to, and says nothing of who is forgotten", () =>
    Effect.gen(function* () {
      const contacts = [{ person: "p1" }]
      assert.deepEqual(yield* relayed("omit"), [
        { customer: "c1", plan: "free", contacts },
        { customer: "c2", plan: "free", contacts }
      ])
    })
  )

  it.live("sends them sealed, asked or not, and who has the keys opens them; who has not is told so", () =>
    Effect.gen(function* () {
      for (const personal of ["sealed", undefined] as const) {
        const text = JSON.stringify(yield* relayed(personal))
        assert.ok(!text.includes("planted") && !phone.test(text), text)
        assert.equal(text.split('"sealed":').length, 5, text)
      }
      const Broker = Layer.provideMerge(Transport.layerMemory, Log)
      yield* Effect.gen(function* () {
        yield* append("c1")
        yield* start(Relay.layer({ name: "shop" }))
        const decoded = (data: unknown) => Schema.decodeUnknownResult(Schema.toCodecJson(Registered.fields.email))(data)
        const emailOf = (all: ReadonlyArray<unknown>) => (all[0] as { readonly email: unknown }).email
        const open = yield* Effect.provide(received(1, "ours"), Personal.layerTransport)
        const opened = decoded(emailOf(open))
        assert.ok(opened._tag === "Success")
        assert.equal(opened.success, planted)
        const bare = decoded(emailOf(yield* received(1, "others")))
        assert.ok(bare._tag === "Failure")
        assert.match(String(bare.failure), /sealed personal data: it is read without Personal\.layer/)
        yield* Personal.forget("c1")
        const forgotten = decoded(emailOf(yield* Effect.provide(received(1, "later"), Personal.layerTransport)))
        assert.ok(forgotten._tag === "Success")
        assert.deepEqual(forgotten.success, Personal.forgotten)
      }).pipe(Effect.provide(Broker), Effect.scoped)
    })
  )
})

describe("messages that a program publishes itself", () => {
  const message = (id: string, data: Schema.Json): Transport.Message => ({
    specversion: "1.0",
    id,
    source: "/shop",
    type: "Registered",
    subject: "Customer-c1",
    time: DateTime.makeUnsafe(0),
    datacontenttype: "application/json",
    schemaversion: 1,
    position: 1,
    data
  })
  const personal = (value: Schema.Json): Schema.Json => ({ customer: "c1", email: { $personal: { of: "customer", value } } })

  it.effect("are sealed, whatever stands between them, and one that cannot be is named", () =>
    Effect.gen(function* () {
      const publish = (...messages: readonly [Transport.Message, ...ReadonlyArray<Transport.Message>]) =>
        Effect.provide(Transport.publish(messages), Personal.layerTransport)
      const error = yield* Effect.flip(
        publish(message("m1", personal(planted)), message("m2", { plan: "free" }), message("m3", personal(Number.NaN)))
      )
      assert.ok(error.reason._tag === "MessageRefused" && error.reason.id === "m3", String(error))
      assert.match(error.message, /data\.email is NaN/)
      yield* publish(message("m4", { plan: "free" }), message("m5", personal(planted)))
      const all = yield* received(2)
      assert.deepEqual(all[0], { plan: "free" })
      const text = JSON.stringify(all[1])
      assert.ok(text.includes('"sealed":') && !text.includes(planted), text)
      const ours = yield* Effect.provide(received(2, "ours"), Personal.layerTransport)
      assert.ok(JSON.stringify(ours[1]).includes(planted))
    }).pipe(Effect.provide(Layer.provideMerge(Transport.layerMemory, Log)))
  )
})

describe("what people are shown", () => {
  it.effect("of an audit trail has no personal data, nor what seals them", () =>
    Effect.gen(function* () {
      yield* append("c1")
      const both = [
        ...(yield* Stream.runCollect(EventStore.readAll())),
        ...(yield* Stream.runCollect(EventStore.asStored(yield* EventStore.EventStore).readAll()))
      ]
      assert.equal(both.length, 2)
      for (const event of both) {
        assert.ok(
          AuditTrail.formatLine(event).endsWith(
            '{"customer":"c1","email":"‹personal›","plan":"free","contacts":[{"person":"p1","phone":"‹personal›"}]}'
          ),
          AuditTrail.formatLine(event)
        )
        assert.ok(!AuditTrail.formatTree([event]).join("\n").includes("sealed"))
      }
    }).pipe(Effect.provide(Log))
  )

  it.effect("of an operator's pages has personal data only where all payloads are shown", () =>
    Effect.gen(function* () {
      yield* append("c1")
      const seen = (payloads: "hidden" | "masked" | "shown") =>
        Effect.gen(function* () {
          const handlers = Operate.layerHandlers({ aggregates: [Customer] })
          const operator = Operate.layerOperator({ name: "ada", payloads })
          const built = yield* Layer.build(Layer.fresh(Layer.merge(handlers, operator)))
          const client = yield* Effect.provideContext(RpcTest.makeClient(Operations.Operations), built)
          return JSON.stringify([
            yield* client.Event({ at: 1 }),
            yield* client.Events({}),
            yield* client.StreamEvents({ stream: "Customer-c1" })
          ])
        })
      for (const payloads of ["hidden", "masked"] as const) {
        const text = yield* seen(payloads)
        assert.ok(!text.includes("planted") && !phone.test(text) && !text.includes("sealed"), text)
        assert.equal(text.includes("‹personal›"), payloads === "masked", text)
      }
      assert.ok((yield* seen("shown")).includes(planted))
    }).pipe(Effect.scoped, Effect.provide(Log))
  )
})

describe("a pseudonym", () => {
  const under = (letter: string) =>
    Personal.layerPseudonyms(Redacted.make(btoa(letter.repeat(32)))).pipe(Layer.provide(Personal.layerCrypto))
  const names = Effect.all([Personal.pseudonym(planted), Personal.pseudonym(planted), Personal.pseudonym("ben@example.org")])

  it.effect("is the same for the same value and key, and says nothing of either", () =>
    Effect.gen(function* () {
      const [one, again, other] = yield* Effect.provide(names, under("k"))
      const [elsewhere] = yield* Effect.provide(names, under("l"))
      assert.match(one, /^[0-9a-f]{32}$/)
      assert.equal(one, again)
      assert.equal(new Set([one, other, elsewhere]).size, 3)
      // HMAC-SHA-256, known from elsewhere: a pseudonym is kept as long as the log, in its names of streams.
      const { createHmac } = yield* Effect.promise(() => import("node:crypto"))
      assert.equal(one, createHmac("sha256", "k".repeat(32)).update(planted).digest("hex").slice(0, 32))
    })
  )

  it.effect("names streams, subjects and tags, and is forgotten by it", () =>
    Effect.gen(function* () {
      const customer = yield* Personal.pseudonym(planted)
      yield* append(customer)
      const stored = EventStore.asStored(yield* EventStore.EventStore)
      assert.ok(!JSON.stringify(yield* Stream.runCollect(stored.readAll())).includes("planted"))
      yield* Personal.forget(yield* Personal.pseudonym(planted))
      const [event] = yield* Stream.runCollect(EventStore.read(`Customer-${customer}`))
      const { email } = yield* Effect.fromResult(Event.decode(Registered, event as EventStore.RecordedEvent))
      assert.deepEqual(email, Personal.forgotten)
    }).pipe(Effect.provide(Layer.merge(Log, under("k"))))
  )

  it.effect("is not made with a key that is none", () =>
    Effect.gen(function* () {
      for (const key of ["short", "", btoa("k".repeat(31)), btoa("k".repeat(33))]) {
        const error = yield* Effect.flip(
          Effect.provide(names, Personal.layerPseudonyms(Redacted.make(key)).pipe(Layer.provide(Personal.layerCrypto)))
        )
        assert.match(error.message, /is not 32 bytes in base64: make one with "openssl rand -base64 32"/)
        assert.ok(key === "" || !error.message.includes(key))
      }
    })
  )
})

const database = Effect.map(temporaryDirectory, (directory) =>
  UnitOfWork.layerSql.pipe(
    Layer.provideMerge(Personal.layer),
    Layer.provideMerge(Keys.layerMemory),
    Layer.provideMerge(Personal.layerCrypto),
    Layer.provideMerge(
      SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: join(directory, "store.db") })))
    )
  )
)

const Find = Command.make("Find", {
  payload: { customer: Schema.String },
  success: Schema.Struct({ customer: Schema.String, email: Personal.field(Schema.String, { subject: "customer" }) })
})

describe("answers to commands", () => {
  const answering = (answers?: typeof Answers.layerSql) => {
    const runs: Array<string> = []
    const bus = MessageBus.layerWith({ record: "none" })
    const handlers = MessageBus.handle(Find, ({ customer }) =>
      Effect.as(
        Effect.andThen(
          Effect.sync(() => runs.push(customer)),
          Effect.orDie(append(customer))
        ),
        { customer, email: planted }
      )
    )
    const Bus = Layer.provideMerge(handlers, answers === undefined ? bus : Layer.provide(bus, answers))
    return { runs, ask: Effect.provide(MessageBus.execute(Find, { customer: "c1" }, { id: "k-1" }), Bus) }
  }

  it.live("with personal data in them are refused by a table, which would keep them in the clear, and nothing is done", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { ask } = answering(Answers.layerSql)
        const error = yield* Effect.flip(ask)
        assert.ok(error instanceof Error)
        assert.match(
          error.message,
          /email is personal data, which this table would keep in the clear: leave the answer to the log/
        )
        assert.equal(yield* EventStore.head, 0)
      }).pipe(Effect.provide(yield* database))
    })
  )

  it.live("are kept sealed by the log, and a repetition gets them until they are forgotten", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { ask, runs } = answering()
        assert.deepEqual(yield* ask, { customer: "c1", email: planted })
        assert.deepEqual(yield* ask, { customer: "c1", email: planted })
        const stored = EventStore.asStored(yield* EventStore.EventStore)
        assert.ok(!JSON.stringify(yield* Stream.runCollect(stored.readAll())).includes("planted"))
        yield* Personal.forget("c1")
        assert.deepEqual(yield* ask, { customer: "c1", email: Personal.forgotten })
        assert.deepEqual(runs, ["c1"])
      }).pipe(Effect.provide(yield* database))
    })
  )
})

describe("a view that takes events by the batch", () => {
  const batches: Array<ReadonlyArray<string>> = []
  const view = (name: string, events: ReadonlyArray<Event.Any>) => {
    const table = Projection.table(`${name}_customers`, {
      key: "customer",
      fields: { customer: Schema.String, email: Schema.NullOr(Schema.String) },
      personal: { subject: "customer", onForget: { email: null } }
    })
    const projection = Projection.make(name, {
      version: 1,
      tables: [table],
      events,
      batch: (items) => {
        const all = items as unknown as ReadonlyArray<{
          readonly event: typeof Registered.Type | { readonly _tag: "SubjectForgotten" }
        }>
        batches.push(all.map(({ event }) => event._tag))
        return table.upsert(
          ...all.flatMap(({ event }) =>
            event._tag === "Registered"
              ? [{ customer: event.customer, email: Personal.getOrElse(event.email, () => "nobody") }]
              : []
          )
        )
      }
    })
    return { table, projection }
  }

  it.live("forgets in its turn: what comes before and behind is not mixed up with it, also in a batch of its own making", () =>
    Effect.gen(function* () {
      const own = view("own", [Registered, Personal.SubjectForgotten])
      const other = view("other", [Registered])
      batches.length = 0
      yield* Effect.gen(function* () {
        const keys = yield* Keys.Keys
        yield* append("c1")
        yield* append("c2")
        yield* Personal.forget("c1")
        yield* keys.readmit("c1")
        yield* append("c1")
        yield* Personal.forget("c2")
        yield* append("c3")
        const at = yield* EventStore.head
        for (const [{ projection, table }, heard] of [
          [own, ["Registered", "Registered", "SubjectForgotten", "Registered", "SubjectForgotten", "Registered"]],
          [other, ["Registered", "Registered", "Registered", "Registered"]]
        ] as const) {
          batches.length = 0
          yield* Effect.scoped(
            Effect.andThen(
              start(Projection.layer(projection)),
              Projection.awaitPosition(projection, at, { timeout: "10 seconds" })
            )
          )
          assert.deepEqual(yield* table.list(), [
            { customer: "c1", email: planted },
            { customer: "c2", email: null },
            { customer: "c3", email: planted }
          ])
          assert.deepEqual(batches.flat(), heard)
        }
      }).pipe(Effect.provide(yield* database))
    })
  )
})
