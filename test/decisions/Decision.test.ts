import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, References, Result, Schema, Stream } from "effect"
import { Aggregate, Command, Decision, Event, EventStore, MessageBus, Repository, Tag, UnitOfWork } from "eventfold"
import { core, elsewhere, makeWirings } from "../support/wirings.ts"
import { log, race, slowReads, successes } from "./support.ts"

const { concurrentlyOnEveryStore, onEveryStore } = makeWirings()
const { transact } = UnitOfWork

// The domain: seats, each taken once, of rooms; and accounts, which may be closed.
const room = Tag.make("room", Schema.NonEmptyString)
const person = Tag.make("person", Schema.NonEmptyString)

const Opened = Event.make("Opened", { room: Schema.String, seats: Schema.Int }, { tags: (event) => [room(event.room)] })
const Taken = Event.make(
  "Taken",
  { room: Schema.String, person: Schema.String },
  {
    tags: (event) => [room(event.room), person(event.person)]
  }
)
const Noted = Event.make("Noted", { text: Schema.String })

const Free = Decision.make("Free", {
  tags: { room },
  events: [Opened, Taken],
  initial: 0,
  evolve: { Opened: (free, { seats }) => free + seats, Taken: (free) => free - 1 }
})
const Rooms = Decision.make("Rooms", { tags: { person }, events: [Taken], initial: 0, evolve: { Taken: (count) => count + 1 } })
const Newest = Decision.make("Newest", {
  tags: { room },
  events: [Taken],
  state: Schema.UndefinedOr(Schema.String),
  initial: undefined,
  evolve: { Taken: (_, { person }) => person },
  read: "last"
})

const Joined = Event.make("Joined", { name: Schema.String })
const Closed = Event.make("Closed")
const Account = Aggregate.make("Account", {
  events: [Joined, Closed],
  initial: { name: "", closed: false },
  evolve: { Joined: (state, { name }) => ({ ...state, name }), Closed: (state) => ({ ...state, closed: true }) }
})

// Of a type that was called otherwise once, is read out of another, and has a neighbour that is no more.
const Seated = Event.make(
  "Seated",
  { room: Schema.String },
  {
    tags: (event) => [room(event.room)],
    aliases: ["Sat"],
    from: { Moved: ({ to }: { to: string | null }) => (to === null ? undefined : { room: to }) }
  }
)
const seated = {
  tags: { room },
  events: [Seated, Event.retired("Left")],
  initial: 0 as number,
  evolve: { Seated: (count: number) => count + 1 }
} as const
const Count = Decision.make("Count", seated)
const Last = Decision.make("Last", { ...seated, read: "last" })
const old = (type: string, payload: Schema.Json = { room: "a" }) => ({ type, payload, tags: ["room:a"] })

class Full extends Schema.TaggedError<Full>()("Full", {}) {}

const open = (name: string, seats: number) =>
  Decision.execute(Free({ room: name }), `Room-${name}`, () => Opened.make({ room: name, seats }))
const take = (name: string, who: string) =>
  Decision.execute(Free({ room: name }), `Room-${name}`, (free) =>
    free > 0 ? Taken.make({ room: name, person: who }) : Result.fail(new Full({}))
  )

/** A decision that has read, and waits for `go` before it gives its events. */
const held = <State, E extends Event.Any>(boundary: Decision.Boundary<State, E>, ...events: ReadonlyArray<E["Type"]>) =>
  Effect.gen(function* () {
    const read = yield* Deferred.make<State>()
    const go = yield* Deferred.make<void>()
    const decision = Decision.execute(boundary, Decision.into("Held-1", ...boundary.events), (state) =>
      Deferred.succeed(read, state).pipe(Effect.andThen(Deferred.await(go)), Effect.as(events))
    )
    return { read: Deferred.await(read), go: Deferred.succeed(go, undefined), decision }
  })

const tagOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string =>
  Exit.match(exit, {
    onSuccess: () => "committed",
    onFailure: (cause) => String(cause.reasons.map((r) => ("error" in r ? r.error._tag : r._tag)))
  })

/** Runs an effect and collects what it logs. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const messages: Array<string> = []
    const logger = Logger.make(({ message }) => void messages.push(String(message)))
    return effect.pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Debug"),
      Effect.map(() => messages)
    )
  })

describe("execute", () => {
  onEveryStore((test) => {
    test("gives the state with the new events, and these; the state as it was where there are none", () =>
      Effect.gen(function* () {
        assert.deepEqual(yield* transact(open("a", 2)), { state: 2, events: [Opened.make({ room: "a", seats: 2 })] })
        assert.deepEqual(yield* transact(take("a", "ada")), { state: 1, events: [Taken.make({ room: "a", person: "ada" })] })
        const none = Decision.execute(Free({ room: "a" }), "Room-a", () => [])
        assert.deepEqual(yield* transact(none), { state: 1, events: [] })
        assert.deepEqual(yield* log, ["Room-a@1 Opened", "Room-a@2 Taken"])
      }))

    test("reads its events by type and tags, in whatever stream they stand", () =>
      Effect.gen(function* () {
        const taken = (stream: string, tags: ReadonlyArray<string>, type = "Taken") =>
          EventStore.append(stream, [{ type, payload: { room: "-", person: "-" }, tags }])
        yield* taken("A-1", ["room:a", "person:ada", "more"])
        yield* taken("B-1", ["room:b", "person:ada"])
        yield* taken("C-1", ["person:ada"])
        yield* taken("C-1", ["person:ada"], "Other")
        yield* taken("C-1", [])
        const both = Decision.all({
          free: Free({ room: "a" }),
          rooms: Rooms({ person: "ada" }),
          list: Decision.all([Rooms({ person: "ben" })])
        })
        assert.deepEqual(yield* Decision.read(both), { state: { free: -1, rooms: 3, list: [0] }, position: 5 })
      }))

    test("sees what its own unit of work has staged, by whatever way, and nothing that is not written", () =>
      Effect.gen(function* () {
        const states = yield* transact(
          Effect.gen(function* () {
            yield* open("a", 5)
            const { state: first } = yield* take("a", "ada")
            yield* UnitOfWork.stage("Else-1", [
              { type: "Taken", payload: { room: "a", person: "eve" }, tags: ["room:a", "person:eve"] },
              { type: "Taken", payload: { room: "b", person: "eve" }, tags: ["room:b", "person:eve"] }
            ])
            const second = yield* Decision.load(Free({ room: "a" }))
            // A nested unit of work that fails leaves nothing.
            yield* Effect.flip(transact(Effect.andThen(take("a", "ben"), Effect.fail("no"))))
            return [first, second, yield* Decision.load(Free({ room: "a" })), yield* Decision.load(Newest({ room: "a" }))]
          })
        )
        assert.deepEqual(states, [4, 3, 3, "eve"])
        assert.deepEqual(yield* Decision.read(Newest({ room: "a" })), { state: "eve", position: 4 })
      }))

    test("folds long answers page by page", () =>
      Effect.gen(function* () {
        const many = Array.from({ length: 700 }, (_, index) => ({
          type: index === 0 ? "Opened" : "Taken",
          payload: index === 0 ? { room: "a", seats: 1000 } : { room: "a", person: `p-${index}` },
          tags: index % 2 === 0 ? ["room:a"] : ["room:b", "room:a"]
        }))
        yield* EventStore.append("Room-a", many)
        const read = Decision.all([Free({ room: "a" }), Newest({ room: "a" }), Free({ room: "b" })])
        assert.deepEqual(yield* Decision.read(read), { state: [301, "p-699", -350], position: 700 })
        assert.deepEqual(yield* transact(Decision.load(read)), [301, "p-699", -350])
      }))

    test("events that were renamed, split or retired are read and checked under their old types", () =>
      Effect.gen(function* () {
        yield* EventStore.append("Room-a", [
          old("Sat"),
          old("Seated"),
          old("Moved", { to: "a" }),
          old("Moved", { to: null }),
          old("Left")
        ])
        // The newest event that is one is the third.
        assert.deepEqual((yield* Decision.read(Decision.all([Count({ room: "a" }), Last({ room: "a" })]))).state, [3, 1])
      }))

    test("events bear the metadata of the message that they follow from", () =>
      Effect.gen(function* () {
        yield* transact(open("a", 1)).pipe(Effect.provideService(UnitOfWork.CurrentMetadata, { correlationId: "c", who: "ada" }))
        const [event] = yield* Stream.runCollect(EventStore.readAll())
        assert.deepEqual([event?.metadata, event?.tags], [{ correlationId: "c", who: "ada" }, ["room:a"]])
      }))
  })
})

describe("while others commit", () => {
  concurrentlyOnEveryStore((test) => {
    test("a decision whose facts have changed since it read them is not committed, and decides anew", () =>
      Effect.gen(function* () {
        yield* transact(open("a", 1))
        const other = yield* elsewhere(transact(take("a", "ben")))
        let tries = 0
        const decision = Decision.execute(Free({ room: "a" }), "Room-a", (free) =>
          Effect.gen(function* () {
            // The read is held open while another commits.
            if (tries++ === 0) yield* other.go
            return free > 0 ? Taken.make({ room: "a", person: "ada" }) : yield* new Full({})
          })
        ).pipe(transact)
        const conflict = yield* Effect.flip(decision)
        assert.ok(conflict instanceof EventStore.AppendConditionError)
        assert.equal(conflict.position, 2)
        tries = 1
        assert.deepEqual(yield* Effect.flip(UnitOfWork.retryConflicts(decision, { times: 1 })), new Full({}))
        assert.deepEqual(yield* log, ["Room-a@1 Opened", "Room-a@2 Taken"])
      }))

    test("facts that it does not read do not matter", () =>
      Effect.gen(function* () {
        yield* transact(Effect.andThen(open("a", 1), open("b", 1)))
        const other = yield* elsewhere(transact(take("b", "ben")))
        const decision = Decision.execute(Free({ room: "a" }), "Room-a", () =>
          Effect.as(other.go, Taken.make({ room: "a", person: "ada" }))
        )
        yield* transact(decision)
        assert.deepEqual(yield* log, ["Room-a@1 Opened", "Room-b@1 Opened", "Room-b@2 Taken", "Room-a@2 Taken"])
      }))

    test("two that read each other's facts in opposite order: one commits", () =>
      Effect.gen(function* () {
        const first = yield* held(Free({ room: "a" }), Taken.make({ room: "b", person: "ada" }))
        const second = yield* held(Free({ room: "b" }), Taken.make({ room: "a", person: "ada" }))
        const fibers = yield* Effect.forEach([first, second], ({ decision }) => Effect.forkChild(Effect.exit(transact(decision))))
        yield* Effect.all([first.read, second.read])
        yield* Effect.all([first.go, second.go])
        const exits = yield* Effect.forEach(fibers, Fiber.join)
        assert.deepEqual(exits.map(tagOf).toSorted(), ["AppendConditionError", "committed"])
        assert.equal((yield* log).length, 1)
      }))

    test("one unit of work sees one position: what comes between two reads is in neither, and spoils the commit", () =>
      Effect.gen(function* () {
        yield* transact(Effect.andThen(open("a", 1), open("b", 1)))
        const other = yield* elsewhere(transact(take("b", "ben")))
        const seen: Array<unknown> = []
        const exit = yield* Effect.exit(
          transact(
            Effect.gen(function* () {
              seen.push(yield* Decision.load(Free({ room: "a" })))
              yield* other.go
              seen.push(yield* Decision.load(Decision.all([Free({ room: "b" }), Newest({ room: "b" })])))
              yield* UnitOfWork.stage("Else-1", [{ type: "Else", payload: {} }])
            })
          )
        )
        assert.deepEqual(seen, [1, [1, undefined]])
        assert.equal(tagOf(exit), "AppendConditionError")
      }))

    test("old types spoil a decision as the new one does; those that are retired, and those that it ignores, do not", () =>
      Effect.gen(function* () {
        const decide = (boundary: Decision.Boundary<unknown>, meanwhile: EventStore.NewEvent) =>
          Effect.gen(function* () {
            const other = yield* elsewhere(EventStore.append("Room-a", [meanwhile]))
            const deciding = Effect.gen(function* () {
              yield* Decision.load(boundary)
              yield* UnitOfWork.stage("Else-1", [{ type: "Else", payload: {} }])
              yield* other.go
            })
            return tagOf(yield* Effect.exit(transact(deciding)))
          })
        const count = Count({ room: "a" })
        const free = Free({ room: "a" }).pipe(Decision.ignoring(Opened))
        assert.deepEqual(
          yield* Effect.forEach(
            [
              [count, old("Seated")],
              [count, old("Sat")],
              [count, old("Moved", { to: "a" })],
              [count, old("Left")],
              [Last({ room: "a" }), old("Sat")],
              [free, { ...old("Opened"), payload: { room: "a", seats: 1 } }],
              [free, { ...old("Taken"), payload: { room: "a", person: "ada" } }],
              // Of two parts one may ignore what the other does not.
              [Decision.all([free, Free({ room: "a" })]), { ...old("Opened"), payload: { room: "a", seats: 1 } }]
            ] as const,
            ([boundary, meanwhile]) => decide(boundary, meanwhile)
          ),
          ["AppendConditionError", "AppendConditionError", "AppendConditionError", "committed"].concat([
            "AppendConditionError",
            "committed",
            "AppendConditionError",
            "AppendConditionError"
          ])
        )
      }))

    test("an aggregate in the boundary is guarded, whether it is written to or not", () =>
      Effect.gen(function* () {
        yield* Repository.append(Account, "ada", [Joined.make({ name: "Ada" })])
        yield* transact(open("a", 3))
        const boundary = Decision.all({ account: Decision.aggregate(Account, "ada"), free: Free({ room: "a" }) })
        const decide = (meanwhile: Effect.Effect<unknown, unknown>) =>
          Decision.execute(boundary, "Room-a", ({ account }) =>
            Effect.gen(function* () {
              yield* meanwhile
              return account.closed ? yield* new Full({}) : Taken.make({ room: "a", person: account.name })
            })
          ).pipe(transact)
        assert.deepEqual((yield* decide(Effect.void)).state, { account: { name: "Ada", closed: false }, free: 2 })
        const other = yield* elsewhere(Repository.append(Account, "ada", [Closed.make({})]))
        const conflict = yield* Effect.flip(decide(other.go))
        assert.deepEqual(conflict, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 1, actual: 2 }))
        assert.deepEqual(yield* Effect.flip(decide(Effect.void)), new Full({}))
        assert.deepEqual((yield* Decision.read(boundary)).state, { account: { name: "Ada", closed: true }, free: 2 })
      }))

    test("a decision on an aggregate may write to its stream, beside facts of the log", () =>
      Effect.gen(function* () {
        yield* transact(open("a", 1))
        const join = (name: string) =>
          Decision.execute(
            Decision.all({ account: Decision.aggregate(Account, name), rooms: Rooms({ person: name }) }),
            Decision.into(Account, name),
            ({ account }) => (account.name === "" ? Joined.make({ name }) : [])
          ).pipe(transact)
        assert.deepEqual((yield* join("ada")).state, { account: { name: "ada", closed: false }, rooms: 0 })
        assert.deepEqual((yield* join("ada")).events, [])
        const exits = yield* race(["ben", "ben", "ben"].map(join))
        assert.equal(successes(exits), 3)
        assert.deepEqual(yield* log, ["Room-a@1 Opened", "Account-ada@1 Joined", "Account-ben@1 Joined"])
      }).pipe(Effect.provide(slowReads)))
  })
})

core.describe("within one unit of work", () => {
  const provided = Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))

  core.it.effect("of two decisions at once on the same facts the one that was overtaken is refused", () =>
    Effect.gen(function* () {
      yield* transact(open("a", 1))
      const first = yield* held(Free({ room: "a" }), Taken.make({ room: "a", person: "ada" }))
      const second = yield* held(Free({ room: "a" }), Taken.make({ room: "a", person: "ben" }))
      const exits = yield* transact(
        Effect.gen(function* () {
          const fibers = yield* Effect.forEach([first, second], ({ decision }) => Effect.forkChild(Effect.exit(decision)))
          yield* Effect.all([first.read, second.read])
          yield* first.go
          const one = yield* Fiber.join(fibers[0] as (typeof fibers)[number])
          yield* second.go
          return [one, yield* Fiber.join(fibers[1] as (typeof fibers)[number])]
        })
      )
      assert.deepEqual(exits.map(tagOf), ["committed", "AppendConditionError"])
      const [, refused] = exits
      assert.match(String(refused), /this unit of work has itself staged, or dropped, meanwhile/)
      assert.deepEqual(yield* log, ["Room-a@1 Opened", "Held-1@1 Taken"])
    }).pipe(provided)
  )

  core.it.effect("a decision on an aggregate is refused as one of its stream where its own unit of work has moved that", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, "1", [Joined.make({ name: "ada" })])
      const close = Repository.execute(Account, "1", () => Closed.make({}))
      const error = yield* Effect.flip(
        transact(
          Decision.execute(Decision.aggregate(Account, "1"), Decision.into("Note-1", Noted), () =>
            Effect.as(close, Noted.make({ text: "is open" }))
          )
        )
      )
      assert.equal(error.message, new EventStore.OptimisticLockError({ stream: "Account-1", expected: 1, actual: 2 }).message)
      assert.deepEqual(yield* log, ["Account-1@1 Joined"])
    }).pipe(provided)
  )

  core.it.effect("a decision on what a neighbour has staged is not committed where the neighbour drops it", () =>
    Effect.gen(function* () {
      yield* transact(open("a", 1))
      const staged = yield* Deferred.make<void>()
      const decided = yield* Deferred.make<void>()
      const exit = yield* Effect.exit(
        transact(
          Effect.gen(function* () {
            const neighbour = transact(
              Effect.gen(function* () {
                yield* open("a", 5)
                yield* Deferred.succeed(staged, undefined)
                yield* Deferred.await(decided)
                return yield* Effect.fail("no")
              })
            )
            const fiber = yield* Effect.forkChild(Effect.exit(neighbour))
            yield* Deferred.await(staged)
            assert.equal((yield* take("a", "ada")).state, 5)
            yield* Deferred.succeed(decided, undefined)
            yield* Fiber.join(fiber)
          })
        )
      )
      assert.equal(tagOf(exit), "AppendConditionError")
      assert.deepEqual(yield* log, ["Room-a@1 Opened"])
    }).pipe(provided)
  )

  core.it.effect("a nested one that fails takes along what it has found; one that succeeds does not", () =>
    Effect.gen(function* () {
      yield* transact(open("a", 1))
      const outer = (nested: Effect.Effect<void, string>) =>
        Effect.gen(function* () {
          const other = yield* elsewhere(transact(open("a", 1)))
          return yield* Effect.exit(
            transact(
              Effect.gen(function* () {
                yield* Effect.exit(transact(Effect.andThen(Decision.load(Free({ room: "a" })), nested)))
                yield* UnitOfWork.stage("Else-1", [{ type: "Else", payload: {} }])
                yield* other.go
              })
            )
          )
        })
      assert.deepEqual(tagOf(yield* outer(Effect.fail("no"))), "committed")
      assert.deepEqual(tagOf(yield* outer(Effect.void)), "AppendConditionError")
    }).pipe(provided)
  )

  core.it.effect("says, for who looks, that a decision does not guard against its own twin, or is not checked", () =>
    Effect.gen(function* () {
      const note = Decision.execute(Free({ room: "a" }), Decision.into("Notes-1", Noted), () => Noted.make({ text: "" }))
      const twin = yield* logged(transact(note))
      const otherRoom = yield* logged(
        transact(Decision.execute(Free({ room: "a" }), "Room-b", () => Opened.make({ room: "b", seats: 1 })))
      )
      const unchecked = yield* logged(transact(Decision.load(Free({ room: "a" }))))
      const right = yield* logged(transact(open("a", 1)))
      assert.match(twin.join(), /staged Noted in "Notes-1", none of which it reads itself/)
      assert.match(otherRoom.join(), /staged Opened in "Room-b", none of which it reads itself/)
      assert.match(unchecked.join(), /has staged no event, so it is not checked/)
      assert.deepEqual(right, [])
    }).pipe(provided)
  )
})

core.describe("what was written wrongly", () => {
  const provided = Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))

  core.it.effect("a value that no tag can be made of is an error, wherever it comes in", () =>
    Effect.gen(function* () {
      const long = "x".repeat(251)
      for (const [value, problem] of [
        ["", /does not fit its schema/],
        [long, /has 256 characters, more than 255/],
        ["\u0000", /U\+0000/]
      ] as const) {
        const refusals: ReadonlyArray<Effect.Effect<unknown, unknown, EventStore.EventStore | UnitOfWork.UnitOfWork>> = [
          transact(take(value, "ada")),
          transact(Decision.load(Free({ room: value }))),
          Decision.read(Decision.all([Free({ room: "a" }), Free({ room: value })]))
        ]
        for (const refused of refusals) {
          const error = yield* Effect.flip(refused)
          assert.ok(error instanceof Tag.TagError)
          assert.match(error.message, problem)
          assert.deepEqual([error.tag, error.model], ["room", "Free"])
        }
        const error = yield* Effect.flip(
          transact(Decision.execute(Rooms({ person: "ada" }), "A-1", () => Taken.make({ room: value, person: "ada" })))
        )
        assert.ok(error instanceof Event.EventEncodeError)
        assert.equal(error.type, "Taken")
        assert.match(error.message, /Event "Taken" does not fit its definition: There is no tag "room"/)
        assert.match(error.message, problem)
      }
      const empty = Tag.make("any").encode("")
      assert.match(
        String(Result.isFailure(empty) && empty.failure.message),
        /There is no tag "any", of this value: it is empty once it is encoded/
      )
      assert.equal(yield* EventStore.head, 0)
    }).pipe(provided)
  )

  core.it.effect("an event that the decision may not come to is an error", () =>
    Effect.gen(function* () {
      const wrong = Decision.execute(Free({ room: "a" }), "Room-a", () => Noted.make({ text: "" }) as never)
      assert.match((yield* Effect.flip(transact(wrong))).message, /the boundary of the decision has no event of this type/)
      const foreign = Decision.execute(
        Free({ room: "a" }),
        Decision.into(Account, "ada"),
        () => Opened.make({ room: "a", seats: 1 }) as never
      )
      assert.match((yield* Effect.flip(transact(foreign))).message, /the aggregate "Account" has no event of this type/)
      const Twofold = Event.make("Opened", {}, { tags: () => [room("a")] })
      const Ambiguous = Decision.make("Ambiguous", {
        tags: { room },
        events: [Twofold],
        initial: 0,
        evolve: { Opened: (n) => n }
      })
      const both = Decision.execute(Decision.all([Free({ room: "a" }), Ambiguous({ room: "a" })]), "Room-a", () =>
        Opened.make({ room: "a", seats: 1 })
      )
      assert.match((yield* Effect.flip(transact(both))).message, /has several definitions of this type/)
      const id = Decision.execute(Decision.aggregate(Account, ""), Decision.into(Account, ""), () => [])
      assert.ok((yield* Effect.flip(transact(id))) instanceof Aggregate.AggregateIdError)
    }).pipe(provided)
  )

  core.it.effect("definitions refuse what they cannot be", () =>
    Effect.sync(() => {
      assert.throws(() => Tag.make("a:b" as "ab"), /RangeError: Tag "a:b": the name must have no colon/)
      assert.throws(() => Tag.make("" as string), /RangeError: Tag "": the name must not be empty/)
      assert.throws(() => Tag.make("x".repeat(254)), /has 256 characters, more than 255/)
      assert.throws(() => room(""), Tag.TagError)
      const options = { tags: { room }, events: [Opened], initial: 0 as number, evolve: { Opened: (n: number) => n } } as const
      assert.throws(() => Decision.make("", options), /the name of a model must not be empty/)
      assert.throws(() => Decision.make("A", { ...options, events: [Opened, Opened] }), /"Opened" is listed twice/)
      assert.throws(
        () => Decision.make("A", { ...options, state: Schema.Int, initial: 0.5 }),
        /Decision "A": the initial state does not fit its Schema/
      )
      assert.throws(
        () => Decision.ignoring(Decision.aggregate(Account, "1"), Closed as never),
        /no model of the boundary reads "Closed"/
      )
      assert.throws(() => Decision.fold(Free({ room: "a" }), [Noted.make({ text: "" }) as never]), /reads no event "Noted"/)
      assert.throws(() => Decision.layerCacheWith({ capacity: 0 }).pipe(Layer.build, Effect.scoped, Effect.runSync), /capacity/)
    })
  )

  core.it.effect("a fold that changes a state in place throws", () =>
    Effect.gen(function* () {
      const Names = Decision.make("Names", {
        tags: { room },
        events: [Taken],
        state: Schema.Array(Schema.String),
        initial: [],
        evolve: { Taken: (names, { person }) => void (names as Array<string>).push(person) as never }
      })
      const Counts = Decision.make("Counts", {
        tags: { room },
        events: [Taken],
        initial: new Map<string, number>(),
        evolve: { Taken: (counts, { person }) => counts.set(person, (counts.get(person) ?? 0) + 1) }
      })
      yield* EventStore.append("A-1", [{ type: "Taken", payload: { room: "a", person: "ada" }, tags: ["room:a"] }])
      const exit = yield* Effect.exit(Decision.read(Names({ room: "a" })))
      assert.match(String(exit), /TypeError/)
      assert.match(String(yield* Effect.exit(Decision.read(Counts({ room: "a" })))), /TypeError: This collection is shared/)
      assert.equal(Counts.initial.size, 0)
    }).pipe(provided)
  )
})

core.describe("fold", () => {
  core.it.effect("is pure: each model folds what bears its tags", () =>
    Effect.sync(() => {
      const events = [
        Opened.make({ room: "a", seats: 2 }),
        Taken.make({ room: "a", person: "ada" }),
        Taken.make({ room: "b", person: "ada" })
      ]
      const boundary = Decision.all({ free: Free({ room: "a" }), rooms: Rooms({ person: "ada" }), newest: Newest({ room: "b" }) })
      const expected = { free: 1, rooms: 2, newest: "ada" }
      assert.deepEqual(Decision.fold(boundary, events), expected)
      assert.deepEqual(boundary.pipe(Decision.fold(events)), expected)
      assert.equal(
        boundary.pipe(
          Decision.map(({ free }) => free + 10),
          Decision.fold(events)
        ),
        11
      )
      assert.deepEqual(Decision.fold(Decision.aggregate(Account, "1"), [Closed.make({})]), { name: "", closed: true })
    })
  )
})

describe("on the bus", () => {
  const Take = Command.make("Take", { payload: { room: Schema.String, person: Schema.String }, error: Full })
  const Handlers = Layer.mergeAll(
    MessageBus.handle(Take, ({ person, room }) => Effect.asVoid(take(room, person))),
    // Whoever takes a seat in "a" takes one in "b" as well, if there is one.
    MessageBus.listen(Taken, ({ person, room }) =>
      room === "a" ? Effect.asVoid(Effect.catchTag(take("b", person), "Full", () => Effect.void)) : Effect.void
    )
  ).pipe(Layer.provideMerge(MessageBus.layer))

  onEveryStore((test) => {
    test("handlers and listeners decide in one commit, caused by the command", () =>
      Effect.gen(function* () {
        yield* transact(Effect.andThen(open("a", 3), open("b", 2)))
        const exits = yield* race(
          ["ada", "ben", "eve", "joe"].map((person) => MessageBus.execute(Take, { room: "a", person }, { correlationId: person }))
        )
        assert.equal(successes(exits), 3)
        const free = Decision.all([Free({ room: "a" }), Free({ room: "b" })])
        assert.deepEqual((yield* Decision.read(free)).state, [0, 0])
        const taken = yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Taken"] } }))
        assert.equal(taken.length, 5)
        for (const { metadata, tags } of taken) assert.equal(tags.includes(`person:${metadata.correlationId}`), true)
      }).pipe(Effect.provide(Handlers.pipe(Layer.provideMerge(slowReads)))))
  })
})
