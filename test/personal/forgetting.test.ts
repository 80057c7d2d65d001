/** Forgetting, cut off at every step, after restores, while keys are away, and in what is kept in memory. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Option, Redacted, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { describe } from "vitest"
import {
  Aggregate,
  Checkpoints,
  Decision,
  Event,
  EventStore,
  Keys,
  Personal,
  Repository,
  Snapshots,
  Subscription,
  Tag,
  UnitOfWork
} from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { copyFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { temporaryDirectory } from "../support/files.ts"
import { logs } from "../support/logs.ts"
import { rest, until } from "../support/words.ts"

const Registered = Event.make("Registered", {
  customer: Schema.String,
  email: Personal.field(Schema.String, { subject: "customer" })
})
const Customer = Aggregate.make("Customer", {
  events: [Registered],
  initial: "nobody",
  evolve: { Registered: (_, { email }) => Personal.getOrElse(email, () => "forgotten") }
})

const masters: Keys.Masters = { current: "a", keys: { a: Redacted.make(btoa("a".repeat(32))) } }

type Services = EventStore.EventStore | Keys.Keys

/** A process over the files of a log and of keys. `change` is what goes wrong with its keys. */
const process = (
  directory: string,
  change: (keys: Keys.Keys["Service"]) => Keys.Keys["Service"] = (keys) => keys
): Layer.Layer<Services, unknown> => {
  const own = Layer.fresh(Keys.layerSql({ masters, bound: 0 })).pipe(
    Layer.provide(Layer.fresh(SqliteClient.layer({ filename: join(directory, "keys.db") }))),
    Layer.provide(Personal.layerCrypto)
  )
  const keys = Layer.effect(Keys.Keys, Effect.map(Keys.Keys, change)).pipe(Layer.provide(own))
  return Personal.layer.pipe(
    Layer.provide(Layer.fresh(SqliteEventStore.layerFile({ filename: join(directory, "log.db") }))),
    Layer.provideMerge(keys),
    Layer.provide(Personal.layerCrypto)
  )
}

const running = <A, E>(layer: Layer.Layer<Services, unknown>, body: Effect.Effect<A, E, Services>) =>
  Effect.scoped(Effect.flatMap(Layer.build(layer), (context) => Effect.provide(body, context)))

const register = (customer: string) =>
  Repository.append(Customer, customer, [Registered.make({ customer, email: `${customer}@example.org` })])
const stateOf = (customer: string) => Effect.map(Repository.read(Customer, customer), ({ state }) => state)
const erasures = (customer: string) => EventStore.EventStore.use((store) => Stream.runCount(store.read(`$erasure-${customer}`)))

/** The eraser, until it has seen all that stands. */
const erasing = Effect.gen(function* () {
  const keys = yield* Keys.Keys
  const all = yield* EventStore.EventStore.use((store) =>
    Stream.runCollect(store.readAll({ filter: { types: ["SubjectForgotten"] } }))
  )
  const wanted = all.map(({ payload }) => payload as { readonly subject: string; readonly generation: number })
  const done = new Map<string, number>()
  const { unfinished = (forgotten) => Effect.succeed(new Set(forgotten.keys())) } = keys
  const watched = Keys.Keys.of({
    ...keys,
    unfinished: (forgotten) =>
      Effect.tap(unfinished(forgotten), (left) =>
        Effect.sync(() => {
          for (const [subject, generation] of forgotten) if (!left.has(subject)) done.set(subject, generation)
        })
      ),
    destroy: (subject, generation) =>
      Effect.tap(
        keys.destroy(subject, generation),
        Effect.sync(() => done.set(subject, generation))
      )
  })
  yield* Effect.scoped(
    Effect.andThen(
      Layer.build(Layer.fresh(Personal.layerEraser)).pipe(Effect.provideService(Keys.Keys, watched)),
      until(() => wanted.every(({ generation, subject }) => (done.get(subject) ?? 0) >= generation))
    )
  )
})

const crash = Effect.die(new Error("crash"))
const rounds = 200
const steps = ["close", "append", "destroy", "none"] as const

describe("forgetting", () => {
  it.live(
    "is finished by the next call, or by the eraser, wherever it was cut off, in 200 rounds",
    () =>
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        const each = Array.from({ length: rounds }, (_, round) => ({ subject: `s${round}`, after: steps[round % steps.length] }))
        let cut: (typeof steps)[number] | undefined
        const dying = process(directory, (keys) => ({
          ...keys,
          close: (subject, generation) =>
            Effect.tap(keys.close(subject, generation), () => (cut === "close" ? crash : Effect.void)),
          destroy: (subject, generation) =>
            cut === "append"
              ? crash
              : Effect.tap(keys.destroy(subject, generation), () => (cut === "destroy" ? crash : Effect.void))
        }))
        yield* running(
          dying,
          Effect.forEach(each, ({ after, subject }) =>
            Effect.gen(function* () {
              yield* register(subject)
              cut = after
              assert.equal(Exit.isFailure(yield* Effect.exit(Personal.forget(subject))), after !== "none")
            })
          )
        )
        yield* running(
          process(directory),
          Effect.gen(function* () {
            yield* erasing
            for (const { after, subject } of each) {
              const state = yield* stateOf(subject)
              // Where the log does not say so yet nobody is forgotten, and nothing new is written.
              assert.equal(
                state,
                after === "close" ? `${subject}@example.org` : "forgotten",
                `${subject}, cut off after ${after}`
              )
              assert.equal(yield* erasures(subject), after === "close" ? 0 : 1)
              assert.equal((yield* Effect.flip(register(subject)))._tag, "InvalidAppendError")
            }
            yield* Effect.forEach(each, ({ subject }) => Personal.forget(subject))
            for (const { subject } of each) {
              assert.equal(yield* stateOf(subject), "forgotten")
              assert.equal(yield* erasures(subject), 1)
            }
          })
        )
      }),
    120_000
  )

  it.live("outlasts a restore of the log, and one of the keys where the eraser runs", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const copy = (from: string, to: string) => copyFileSync(join(directory, from), join(directory, to))
      yield* running(process(directory), register("ada"))
      copy("log.db", "log.old")
      copy("keys.db", "keys.old")
      yield* running(process(directory), Personal.forget("ada"))
      copy("log.db", "log.new")
      copy("keys.db", "keys.new")
      const restored = (log: string, keys: string) =>
        running(
          Layer.unwrap(
            Effect.sync(() => {
              for (const name of ["log.db", "keys.db"]) {
                for (const more of ["-wal", "-shm"]) rmSync(join(directory, `${name}${more}`), { force: true })
              }
              copy(log, "log.db")
              copy(keys, "keys.db")
              return process(directory)
            })
          ),
          Effect.andThen(erasing, stateOf("ada"))
        )
      assert.equal(yield* restored("log.new", "keys.new"), "forgotten")
      assert.equal(yield* restored("log.old", "keys.new"), "forgotten")
      assert.equal(yield* restored("log.new", "keys.old"), "forgotten")
      // Of two backups from before nobody can know.
      assert.equal(yield* restored("log.old", "keys.old"), "ada@example.org")
    })
  )

  it.live("is looked up by pages where an eraser starts: what is done is not done again, and what is not is", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const readmit = (subject: string) => Keys.Keys.use((keys) => keys.readmit(subject))
      const subjects = Array.from({ length: 20 }, (_, n) => `s${n}`)
      yield* running(
        process(directory),
        Effect.gen(function* () {
          yield* Effect.forEach(subjects, register)
          yield* Effect.forEach(subjects.slice(1), (subject) => Personal.forget(subject))
          yield* readmit("s1")
          yield* register("s1")
        })
      )
      // As a backup of the keys has it, in which two of them are not forgotten.
      copyFileSync(join(directory, "keys.db"), join(directory, "keys.old"))
      yield* running(process(directory), Personal.forget("s0"))
      yield* running(process(directory), Effect.andThen(Personal.forget("s1"), readmit("s1")))
      const asked: Array<string> = []
      const counting = process(directory, (keys) => ({
        ...keys,
        close: (subject, generation) =>
          Effect.tap(keys.close(subject, generation), () => Effect.sync(() => asked.push(`close ${subject}`))),
        destroy: (subject, generation) =>
          Effect.tap(keys.destroy(subject, generation), () => Effect.sync(() => asked.push(`destroy ${subject}`)))
      }))
      yield* running(counting, erasing)
      assert.deepEqual(asked, [])
      for (const more of ["-wal", "-shm"]) rmSync(join(directory, `keys.db${more}`), { force: true })
      copyFileSync(join(directory, "keys.old"), join(directory, "keys.db"))
      const states = yield* running(counting, Effect.andThen(erasing, Effect.forEach(subjects, stateOf)))
      assert.deepEqual(new Set(states), new Set(["forgotten"]))
      assert.deepEqual(new Set(asked), new Set(["close s0", "destroy s0", "close s1", "destroy s1"]))
    })
  )

  it.effect("is told once by an eraser to whom the keys are away, then ever less often, and once when it goes on", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
        lines.push(`${logLevel} ${String(message)}${cause.reasons.length === 0 ? "" : " with its cause"}`)
      })
      let isAway = true
      const away = Effect.fail(new Keys.KeysUnavailable({ operation: "forget", detail: "they are away" }))
      const KeysLive = Layer.effect(
        Keys.Keys,
        Effect.map(Keys.Keys, (keys): Keys.Keys["Service"] => ({
          ...keys,
          destroy: (subject, generation) => (isAway ? away : keys.destroy(subject, generation))
        }))
      ).pipe(Layer.provide(Keys.layerMemory))
      const Live = Personal.layer.pipe(
        Layer.provide(EventStore.layerMemory),
        Layer.provideMerge(KeysLive),
        Layer.provide(Personal.layerCrypto)
      )
      yield* Effect.gen(function* () {
        yield* register("ada")
        yield* Effect.flip(Personal.forget("ada"))
        yield* Layer.build(Personal.layerEraser)
        yield* TestClock.adjust("10 minutes")
        assert.equal(lines.length, 4)
        assert.match(
          lines[0] ?? "",
          /^Warn eventfold: forgetting what the log says is forgotten goes on later \(.*they are away.*\)$/
        )
        isAway = false
        yield* TestClock.adjust("10 seconds")
        assert.equal(lines.length, 5)
        assert.match(lines[4] ?? "", /^Info eventfold: forgetting what the log says is forgotten goes on, after/)
        assert.equal(yield* stateOf("ada"), "forgotten")
      }).pipe(Effect.scoped, Effect.provide(Live), Effect.provide(Logger.layer([logger])))
    })
  )

  it.effect("is not what happens while keys cannot be had: appends and reads are tried again, and followers go on", () =>
    Effect.gen(function* () {
      logs(/away|keys of personal data were not available/)
      const away = new Set<"sealing" | "opening">()
      const unless = <A>(what: "sealing" | "opening", effect: Effect.Effect<A, Keys.KeysError>) =>
        Effect.suspend(() =>
          away.has(what) ? Effect.fail(new Keys.KeysUnavailable({ operation: "open", detail: "they are away" })) : effect
        )
      const handled: Array<unknown> = []
      const KeysLive = Layer.effect(
        Keys.Keys,
        Effect.map(Keys.Keys, (keys): Keys.Keys["Service"] => ({
          ...keys,
          sealing: (subjects) => unless("sealing", keys.sealing(subjects)),
          opening: (ids) => unless("opening", keys.opening(ids))
        }))
      ).pipe(Layer.provide(Keys.layerMemory))
      const Live = Subscription.layer({
        name: "mail",
        events: [Registered],
        handlers: { Registered: ({ email }) => Effect.sync(() => void handled.push(email)) }
      }).pipe(
        Layer.provideMerge(Personal.layer),
        Layer.provideMerge(KeysLive),
        Layer.provideMerge(Personal.layerCrypto),
        Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
      )
      yield* Effect.gen(function* () {
        yield* register("ada")
        yield* until(() => handled.length === 1)
        away.add("opening")
        yield* register("ben")
        away.add("sealing")
        const refused = yield* Effect.flip(register("cyd"))
        assert.ok(refused._tag === "EventStoreError" && refused.reason._tag === "StoreUnavailable", String(refused))
        const unread = yield* Effect.flip(stateOf("ada"))
        assert.ok(unread._tag === "EventStoreError" && unread.reason._tag === "StoreUnavailable", String(unread))
        yield* rest
        yield* TestClock.adjust("30 seconds")
        assert.deepEqual(handled, ["ada@example.org"])
        away.clear()
        yield* register("cyd")
        yield* TestClock.adjust("1 minute")
        yield* until(() => handled.length === 3)
        assert.deepEqual(handled, ["ada@example.org", "ben@example.org", "cyd@example.org"])
      }).pipe(Effect.provide(Live))
    })
  )

  /** What keeps states in memory, in both ways that decisions have. */
  const keeping = (optimistic: boolean) =>
    Layer.mergeAll(Repository.layerCache, Decision.layerCacheWith({ optimistic }), UnitOfWork.layer).pipe(
      Layer.provideMerge(Personal.layer),
      Layer.provideMerge(Keys.layerMemory),
      Layer.provideMerge(Personal.layerCrypto),
      Layer.provideMerge(EventStore.layerMemory)
    )
  const customer = Tag.make("customer")
  const Signed = Event.make(
    "Signed",
    { customer: Schema.String, email: Personal.field(Schema.String, { subject: "customer" }) },
    { tags: (event) => [customer(event.customer)] }
  )
  const Called = Event.make("Called", { customer: Schema.String }, { tags: (event) => [customer(event.customer)] })
  const evolve = {
    Signed: (_: string, { email }: (typeof Signed)["Type"]) => Personal.getOrElse(email, () => "forgotten"),
    Called: (state: string) => state
  }
  const Signature = Decision.make("Signature", { tags: { customer }, events: [Signed, Called], initial: "nobody", evolve })
  const Signer = Aggregate.make("Signer", { events: [Signed, Called], initial: "nobody", evolve })
  const seenOf = (id: string) =>
    Effect.all([
      Effect.map(Decision.read(Signature({ customer: id })), ({ state }) => state),
      Effect.map(Repository.read(Signer, id), ({ state }) => state)
    ])
  const decide = (id: string, before: Effect.Effect<void> = Effect.void) =>
    UnitOfWork.transact(
      Effect.gen(function* () {
        const decided = yield* Decision.execute(Signature({ customer: id }), `Calls-${id}`, () => Called.make({ customer: id }))
        const { state } = yield* Repository.execute(Signer, id, () => Called.make({ customer: id }))
        yield* before
        return [decided.state, state]
      })
    )

  for (const optimistic of [false, true]) {
    it.effect(`reaches states that are kept in memory at once${optimistic ? ", of those who do not ask first" : ""}`, () =>
      Effect.gen(function* () {
        yield* Repository.append(Signer, "ada", [Signed.make({ customer: "ada", email: "ada@example.org" })])
        yield* decide("ada")
        assert.deepEqual(yield* seenOf("ada"), ["ada@example.org", "ada@example.org"])
        yield* Personal.forget("ada")
        assert.deepEqual(yield* seenOf("ada"), ["forgotten", "forgotten"])
        assert.deepEqual(yield* decide("ada"), ["forgotten", "forgotten"])
      }).pipe(Effect.provide(keeping(optimistic)))
    )

    it.effect(
      `is not undone by a unit of work that has read before, and commits after${optimistic ? ", without asking first" : ""}`,
      () =>
        Effect.gen(function* () {
          yield* Repository.append(Signer, "ada", [Signed.make({ customer: "ada", email: "ada@example.org" })])
          yield* decide("ada")
          const read = yield* Deferred.make<void>()
          const forgotten = yield* Deferred.make<void>()
          const before = Effect.andThen(Deferred.succeed(read, undefined), Deferred.await(forgotten))
          const slow = yield* Effect.forkChild(decide("ada", before))
          yield* Deferred.await(read)
          const behind = yield* Effect.forkChild(decide("ada"))
          yield* Personal.forget("ada")
          yield* Deferred.succeed(forgotten, undefined)
          assert.deepEqual(yield* Fiber.join(slow), ["ada@example.org", "ada@example.org"])
          // It lost against the other, or came behind it.
          yield* Fiber.await(behind)
          assert.deepEqual(yield* seenOf("ada"), ["forgotten", "forgotten"])
          assert.deepEqual(yield* decide("ada"), ["forgotten", "forgotten"])
        }).pipe(Effect.provide(keeping(optimistic)))
    )
  }

  it.effect("is not undone by a snapshot that is saved after it", () =>
    Effect.gen(function* () {
      const Kept = Aggregate.make("Kept", {
        events: [Signed, Called],
        state: Schema.String,
        initial: "nobody",
        evolve,
        snapshot: { every: 1 }
      })
      yield* Repository.append(Kept, "ada", [Signed.make({ customer: "ada", email: "ada@example.org" })])
      const states = Effect.flatMap(Snapshots.Snapshots, ({ load }) =>
        Effect.map(
          load("Kept-ada", Kept.snapshot?.fingerprint ?? ""),
          Option.map(({ state }) => state)
        )
      )
      for (const body of [
        Repository.load(Kept, "ada"),
        Repository.execute(Kept, "ada", () => Called.make({ customer: "ada" }))
      ]) {
        yield* UnitOfWork.transact(Effect.andThen(body, Personal.forget("ada")))
        assert.deepEqual(yield* states, Option.none())
      }
    }).pipe(Effect.provide(Layer.provideMerge(Snapshots.layerMemory, keeping(false))))
  )

  it.effect("is refused in a transaction that could undo it, before anything is done", () =>
    Effect.gen(function* () {
      const services = UnitOfWork.layerSql.pipe(
        Layer.provideMerge(Personal.layer),
        Layer.provideMerge(Keys.layerMemory),
        Layer.provideMerge(Personal.layerCrypto),
        Layer.provideMerge(SqliteEventStore.layerFile({ filename: join(yield* temporaryDirectory, "log.db") }))
      )
      yield* Effect.gen(function* () {
        yield* register("ada")
        const forgetting = UnitOfWork.transact(Effect.andThen(Repository.load(Customer, "ada"), Personal.forget("ada")))
        const error = yield* Effect.flip(forgetting)
        assert.equal(error._tag, "InvalidAppendError")
        assert.match(
          error.message,
          /^Append to stream "\$erasure-ada" refused: the transaction must not be open: .* key of "ada" is destroyed\. Forget outside of it/
        )
        assert.equal(yield* stateOf("ada"), "ada@example.org")
        yield* register("ada")
        yield* Personal.forget("ada")
        assert.equal(yield* stateOf("ada"), "forgotten")
        assert.equal(yield* erasures("ada"), 1)
      }).pipe(Effect.provide(services))
    })
  )

  it.effect("reaches them in another process of the same log", () =>
    Effect.gen(function* () {
      yield* Repository.append(Signer, "ada", [Signed.make({ customer: "ada", email: "ada@example.org" })])
      assert.deepEqual(yield* seenOf("ada"), ["ada@example.org", "ada@example.org"])
      // What another process does to forget somebody.
      const keys = yield* Keys.Keys
      const generation = yield* keys.close("ada")
      const payload = { subject: "ada", generation }
      yield* EventStore.append("$erasure-ada", [{ type: "SubjectForgotten", payload, id: `$erasure:ada:${generation}` }])
      yield* until(Effect.map(seenOf("ada"), (states) => states.every((state) => state === "forgotten")))
    }).pipe(Effect.provide(Layer.provideMerge(Personal.layerEraser, keeping(false))))
  )
})
