import { assert } from "@effect/vitest"
import { Cause, DateTime, Effect, Layer, Stream } from "effect"
import { Checkpoints, DeadLetters, EventStore, ParkedEvents, Repository, Subscription } from "eventfold"
import { expect } from "vitest"
import { logs } from "../support/logs.ts"
import manifest from "../../package.json" with { type: "json" }
import { clientOf, Followers, followersUntil, onEveryStore, Order, Paid, place, Placed } from "./support.ts"

const messageOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => [(error as { _tag: string })._tag, (error as unknown as Error).message])

onEveryStore((test, kind) => {
  test(
    "the overview says which store it is, and what the operator may do",
    Effect.gen(function* () {
      yield* place("1")
      const client = yield* clientOf({ name: "ada", payloads: "masked" })
      const overview = yield* client.Overview({})
      expect(overview).toMatchObject({
        head: 1,
        operator: "ada",
        mayAct: false,
        payloads: "masked",
        protocol: 1,
        library: manifest.version
      })
      assert.strictEqual(overview.bytes !== null && overview.bytes > 0, kind !== "memory" && kind !== "JSON lines")
      const size = yield* client.Size({})
      assert.deepStrictEqual(
        size.growth.map(({ position }) => position),
        [0, 0, 0, 0]
      )
    })
  )

  test(
    "streams by name, page after page, by category and prefix, and the newest first",
    Effect.gen(function* () {
      for (const stream of ["A-1", "A-2", "A-20", "B-1", "A-3"]) yield* EventStore.append(stream, [{ type: "T", payload: {} }])
      yield* EventStore.append("A-1", [{ type: "T", payload: {} }])
      const client = yield* clientOf()
      const names = (page: { readonly items: ReadonlyArray<{ readonly stream: string }> }) =>
        page.items.map(({ stream }) => stream)
      const first = yield* client.Streams({ limit: 2 })
      assert.deepStrictEqual(names(first), ["A-1", "A-2"])
      const second = yield* client.Streams({ limit: 2, after: first.next ?? "" })
      assert.deepStrictEqual(names(second), ["A-20", "A-3"])
      const third = yield* client.Streams({ limit: 2, after: second.next ?? "" })
      assert.deepStrictEqual([names(third), third.next], [["B-1"], null])
      assert.deepStrictEqual(names(yield* client.Streams({ category: "B" })), ["B-1"])
      assert.deepStrictEqual(names(yield* client.Streams({ prefix: "A-2" })), ["A-2", "A-20"])
      assert.deepStrictEqual(names(yield* client.Streams({ prefix: "A-2", category: "B" })), [])
      const newest = yield* client.Streams({ order: "newest", limit: 3 })
      assert.deepStrictEqual(names(newest), ["A-1", "A-3", "B-1"])
      assert.deepStrictEqual(newest.items[0], { stream: "A-1", category: "A", version: 2, position: 6 })
      const older = yield* client.Streams({ order: "newest", limit: 3, after: newest.next ?? "" })
      // A-1 has been shown: its first event is not its newest.
      assert.deepStrictEqual(names(older), ["A-20", "A-2"])
      assert.deepStrictEqual(names(yield* client.Streams({ order: "newest", category: "A", prefix: "A-2" })), ["A-20", "A-2"])
    })
  )

  test(
    "one stream's events, from either end",
    Effect.gen(function* () {
      yield* EventStore.append(
        "A-1",
        [1, 2, 3, 4, 5].map((n) => ({ type: "T", payload: { n } }))
      )
      const client = yield* clientOf()
      const versions = (page: { readonly items: ReadonlyArray<{ readonly version: number }>; readonly next: string | null }) => [
        page.items.map(({ version }) => version),
        page.next
      ]
      assert.deepStrictEqual(versions(yield* client.StreamEvents({ stream: "A-1", limit: 2 })), [[1, 2], "3"])
      assert.deepStrictEqual(versions(yield* client.StreamEvents({ stream: "A-1", from: 3 })), [[3, 4, 5], null])
      assert.deepStrictEqual(versions(yield* client.StreamEvents({ stream: "A-1", direction: "backward", limit: 2 })), [
        [5, 4],
        "3"
      ])
      assert.deepStrictEqual(versions(yield* client.StreamEvents({ stream: "A-1", direction: "backward", from: 3 })), [
        [3, 2, 1],
        null
      ])
      assert.deepStrictEqual(yield* messageOf(client.StreamEvents({ stream: "A-9" })), [
        "NotFoundError",
        'there is no stream "A-9"'
      ])
    })
  )

  test(
    "events by filter, and nothing else: forward, backward, page after page",
    Effect.gen(function* () {
      yield* EventStore.appendAll(
        Array.from({ length: 700 }, (_, n) => ({
          stream: `${n % 2 === 0 ? "Even" : "Odd"}-${n % 7}`,
          events: [
            {
              type: n % 100 === 0 ? "Rare" : "Usual",
              payload: { n },
              tags: n % 50 === 0 ? ["fifty"] : [],
              metadata: n % 300 === 0 ? { correlationId: "c-1" } : {}
            }
          ]
        }))
      )
      const client = yield* clientOf()
      const all = Effect.fnUntraced(function* (options: Omit<Parameters<typeof client.Events>[0], "after">) {
        const positions: Array<number> = []
        let next: string | null | undefined
        do {
          const page = yield* client.Events({ ...options, ...(next === undefined || next === null ? {} : { after: next }) })
          positions.push(...page.items.map(({ position }) => position))
          next = page.next
        } while (next !== null)
        return positions
      })
      const rare = [1, 101, 201, 301, 401, 501, 601]
      assert.deepStrictEqual(yield* all({ filter: { types: ["Rare"] }, direction: "forward", limit: 2 }), rare)
      assert.deepStrictEqual(yield* all({ filter: { types: ["Rare"] }, limit: 2 }), rare.toReversed())
      assert.deepStrictEqual(yield* all({ filter: { tags: ["fifty"], categories: ["Odd"] } }), [])
      assert.deepStrictEqual((yield* all({ filter: { tags: ["fifty"] }, limit: 3 })).length, 14)
      assert.deepStrictEqual(yield* all({ filter: { correlationId: "c-1" }, limit: 1 }), [601, 301, 1])
      assert.deepStrictEqual(yield* all({ filter: { types: ["Absent"] } }), [])
      const everything = yield* all({ limit: 500 })
      assert.deepStrictEqual(
        everything,
        Array.from({ length: 700 }, (_, n) => 700 - n)
      )
      const now = yield* DateTime.now
      assert.deepStrictEqual(yield* all({ filter: { until: DateTime.subtract(now, { hours: 1 }) } }), [])
      assert.strictEqual((yield* all({ filter: { since: DateTime.subtract(now, { hours: 1 }) }, limit: 500 })).length, 700)
      const at = yield* client.PositionAt({ at: DateTime.add(now, { hours: 1 }) })
      assert.deepStrictEqual(at, { position: 700, head: 700 })
    })
  )

  test(
    "one event with its cause and its effects, and the conversation",
    Effect.gen(function* () {
      const talk = (id: string, causationId?: string): EventStore.NewEvent => ({
        id,
        type: "T",
        payload: { text: "x".repeat(10_000) },
        metadata: { correlationId: "c", by: "greta", ...(causationId === undefined ? {} : { causationId }) }
      })
      yield* EventStore.append("A-1", [talk("a"), talk("b", "a"), { id: "z", type: "T", payload: {} }])
      yield* EventStore.append("B-1", [talk("c", "b"), talk("d", "b"), talk("e", "c")])
      const client = yield* clientOf()
      const detail = yield* client.Event({ id: "b" })
      assert.deepStrictEqual(
        [detail.event.version, detail.event.by, detail.cause?.id, detail.effects.map(({ id }) => id), detail.complete],
        [2, "greta", "a", ["c", "d"], true]
      )
      // Whole where it is asked for by itself, cut where it is one of many.
      assert.strictEqual(detail.event.payload._tag, "Shown")
      assert.strictEqual(detail.cause?.payload._tag, "Cut")
      assert.deepStrictEqual((yield* client.Event({ at: 3 })).event.id, "z")
      const trail = yield* client.Trail({ correlationId: "c", limit: 3 })
      assert.deepStrictEqual(
        trail.items.map(({ causationId, id }) => [id, causationId]),
        [
          ["a", null],
          ["b", "a"],
          ["c", "b"]
        ]
      )
      const rest = yield* client.Trail({ correlationId: "c", after: trail.next ?? "" })
      assert.deepStrictEqual(
        rest.items.map(({ id }) => id),
        ["d", "e"]
      )
      assert.deepStrictEqual(yield* messageOf(client.Event({ id: "none" })), ["NotFoundError", 'there is no event "none"'])
      assert.deepStrictEqual((yield* messageOf(client.Event({})))[0], "InvalidRequestError")
    })
  )

  test(
    "an aggregate's states are those of its code, at each version and at an instant",
    Effect.gen(function* () {
      yield* Repository.append(Order, "1", [Placed.make({ customer: "greta", total: 5 }), Paid.make({ by: "card" })])
      const client = yield* clientOf()
      const { before, latest, states } = yield* client.States({ stream: "Order-1", from: 1, to: 9 })
      assert.deepStrictEqual(before, { status: "none", customer: null, total: 0 })
      assert.strictEqual(latest, 2)
      for (const { state, version } of states) {
        assert.deepStrictEqual(state, (yield* Repository.read(Order, "1", { version })).state)
      }
      const later = yield* client.States({ stream: "Order-1", from: 2 })
      assert.deepStrictEqual(later.before, { status: "open", customer: "greta", total: 5 })
      const long = yield* client.States({ stream: "Order-1", at: DateTime.makeUnsafe(0) })
      assert.deepStrictEqual(long.states, [])
      const masked = yield* (yield* clientOf({ name: "ben", payloads: "masked" })).States({ stream: "Order-1" })
      assert.deepStrictEqual(masked.states[0]?.state, { status: "open", customer: "•••", total: 5 })
      const hidden = yield* (yield* clientOf({ name: "ben", payloads: "hidden" })).States({ stream: "Order-1" })
      assert.deepStrictEqual([hidden.states[0]?.state, hidden.states[0]?.event.payload._tag], [null, "Hidden"])
      assert.deepStrictEqual((yield* messageOf(client.States({ stream: "Parcel-1" })))[0], "NotRegisteredError")
      assert.deepStrictEqual((yield* messageOf(client.States({ stream: "Order-1", from: 0 })))[0], "InvalidRequestError")
    })
  )

  test(
    "a payload that its definition cannot read is a row with a problem, and the states go as far as they can",
    Effect.gen(function* () {
      yield* Repository.append(Order, "1", [Placed.make({ customer: "greta", total: 5 })])
      yield* EventStore.append("Order-1", [{ type: "Paid", payload: { by: 7 } }])
      const client = yield* clientOf()
      const { items } = yield* client.StreamEvents({ stream: "Order-1" })
      assert.deepStrictEqual(
        items.map(({ problem }) => problem === null),
        [true, false]
      )
      const { states } = yield* client.States({ stream: "Order-1" })
      assert.deepStrictEqual(
        states.map(({ problem, state }) => [problem === null, state === null]),
        [
          [true, false],
          [false, true]
        ]
      )
    })
  )

  test(
    "payloads are hidden, masked or shown",
    Effect.gen(function* () {
      yield* Repository.append(Order, "1", [Placed.make({ customer: "greta", total: 5 })])
      yield* EventStore.append("Strange-1", [{ type: "Thing", payload: { name: "greta", list: [1, { deep: true }] } }])
      const payloads = Effect.fnUntraced(function* (payloads: "hidden" | "masked" | "shown") {
        const { items } = yield* (yield* clientOf({ name: "ben", payloads })).Events({ direction: "forward" })
        return items.map(({ payload }) => payload)
      })
      assert.deepStrictEqual(yield* payloads("hidden"), [
        { _tag: "Hidden", bytes: 30 },
        { _tag: "Hidden", bytes: 41 }
      ])
      assert.deepStrictEqual(yield* payloads("masked"), [
        { _tag: "Shown", value: { customer: "•••", total: 5 }, masked: ["/customer"] },
        // Of what nobody has described, nothing is known to be harmless.
        { _tag: "Shown", value: { name: "•••", list: ["•••", { deep: "•••" }] }, masked: ["/name", "/list/0", "/list/1/deep"] }
      ])
      assert.deepStrictEqual((yield* payloads("shown"))[0], { _tag: "Shown", value: { customer: "greta", total: 5 }, masked: [] })
    })
  )

  test(
    "leases: a page goes on where the one before ended, though what it ended with has gone",
    Effect.gen(function* () {
      for (const name of ["a", "b", "c", "d"]) {
        yield* Checkpoints.Checkpoints.use(({ reset }) => reset(`subscription:${name}`, 0))
      }
      const client = yield* clientOf()
      const names = (after?: string) =>
        Effect.map(
          client.Leases({ limit: 2, prefix: "subscription:", ...(after !== undefined && { after }) }),
          ({ items, next }) => ({
            names: items.map(({ name }) => name),
            next
          })
        )
      const first = yield* names()
      assert.deepStrictEqual(first.names, ["subscription:a", "subscription:b"])
      yield* Subscription.remove("b")
      assert.deepStrictEqual((yield* names(first.next ?? "")).names, ["subscription:c", "subscription:d"])
    })
  )

  test(
    "followers: what they are, how they are, and at which event one stands",
    Effect.gen(function* () {
      logs(/labels" halts at position 2/, /mails.* parked/, /dead letter/)
      yield* place("1")
      yield* EventStore.append("Order-1", [{ type: "Paid", payload: { by: "card" } }])
      yield* Layer.build(Followers)
      const client = yield* clientOf()
      const all = yield* followersUntil(client, (all) => {
        const stateOf = (name: string) => all.find((follower) => follower.name === name)
        return (
          stateOf("subscription:labels")?.state === "halted" &&
          stateOf("subscription:mails")?.parked === 1 &&
          stateOf("consumer:billing")?.parked === 1 &&
          all.every(({ name, state }) => name === "subscription:labels" || state === "live")
        )
      })
      assert.deepStrictEqual(
        all.map(({ here, kind, name, title }) => [name, kind, title, here]),
        [
          ["consumer:billing", "consumer", "billing", true],
          ["deadlines:Payment", "deadlines", "Payment", true],
          ["relay:orders", "relay", "orders", true],
          ["subscription:labels", "subscription", "labels", true],
          ["subscription:mails", "subscription", "mails", true],
          ["subscription:process:Payment", "process", "Payment", true]
        ]
      )
      const labels = all.find(({ name }) => name === "subscription:labels")
      expect(labels?.failure).toMatchObject({ cause: "no template", position: 2, stream: "Order-1", type: "Paid", attempts: 1 })
      const parked = yield* client.Parked({})
      assert.deepStrictEqual(
        parked.items.map(({ cause, follower, position, type }) => [follower, position, type, cause]),
        [["mails", 1, "Placed", parked.items[0]?.cause]]
      )
      assert.deepStrictEqual((yield* client.Parked({ follower: "subscription:mails" })).items.length, 1)
      assert.deepStrictEqual((yield* client.Parked({ follower: "labels" })).items, [])
      const letters = yield* client.DeadLetters({})
      assert.deepStrictEqual(
        letters.items.map(({ group, subject, type }) => [group, type, subject]),
        [["billing", "Placed", "Order-1"]]
      )
      const deadlines = yield* client.Deadlines({})
      assert.deepStrictEqual(
        deadlines.items.map(({ process, stream, type }) => [process, stream, type]),
        [["Payment", "Payment-greta", "PaymentDue"]]
      )
      assert.deepStrictEqual((yield* client.Deadlines({ dueBefore: yield* DateTime.now })).items, [])
      const leases = yield* client.Leases({})
      assert.deepStrictEqual(
        leases.items.map(({ held, name }) => [name, held]),
        [
          ["deadlines:Payment", true],
          ["relay:orders", true],
          ["subscription:labels", false],
          ["subscription:mails", true],
          ["subscription:process:Payment", true]
        ]
      )
      const groups = yield* client.Groups({})
      assert.deepStrictEqual(
        groups.map(({ deadLetters, group, members, types }) => [group, members, types, deadLetters]),
        [["billing", 1, ["Placed"], 1]]
      )
      const processes = yield* client.Processes({})
      assert.deepStrictEqual(
        processes.map(({ follower, name, watch }) => [name, follower, watch]),
        [["Payment", "subscription:process:Payment", "deadlines:Payment"]]
      )
      const map = yield* client.Map({})
      const edges = map.edges.map(({ from, kind, to }) => `${from} ${kind} ${to}`)
      for (const edge of [
        "aggregate:Order records event:Placed",
        "event:Placed handles subscription:mails",
        "event:Placed handles process:Payment",
        "event:Placed publishes relay:orders",
        "event:Placed handles consumer:billing",
        "event:Paid handles subscription:labels"
      ]) {
        assert.include(edges, edge)
      }
      assert.notInclude(edges, "event:Paid publishes relay:orders")
      const doctor = yield* client.Doctor({})
      assert.deepStrictEqual(
        doctor
          .filter(({ level }) => level !== "ok")
          .map(({ check }) => check)
          .filter((check) => check.startsWith("follower")),
        ["follower consumer:billing", "follower subscription:labels", "follower subscription:mails"]
      )
      assert.notInclude(doctor.map(({ message }) => message).join(), "()")
    })
  )

  test(
    "what is rare is found behind thousands of others, a page at a time, the newest first",
    Effect.gen(function* () {
      const others = Array.from({ length: 3000 }, () => ({ type: "Common", payload: {} }))
      for (const rare of ["1", "2", "3"]) {
        yield* EventStore.append(`Rare-${rare}`, [{ type: "Rare", payload: {} }])
        yield* EventStore.append("Common-1", others)
      }
      const client = yield* clientOf()
      const pages: Array<ReadonlyArray<number>> = []
      let after: string | null | undefined
      while (after !== null) {
        const page = yield* client.Events({ limit: 2, filter: { types: ["Rare"] }, ...(after === undefined ? {} : { after }) })
        pages.push(page.items.map(({ position }) => position))
        after = page.next
      }
      assert.deepStrictEqual(pages, [[6003, 3002], [1]])
      const { items } = yield* client.Events({ limit: 2, filter: { types: ["Rare"], categories: ["Common"] } })
      assert.deepStrictEqual(items, [])
    })
  )

  test(
    "what the doctor cannot look at is a line, and the rest is looked at",
    Effect.gen(function* () {
      yield* place("1")
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:gone", 0))
      const [store, checkpoints, parking, letters] = [
        yield* EventStore.EventStore,
        yield* Checkpoints.Checkpoints,
        yield* ParkedEvents.ParkedEvents,
        yield* DeadLetters.DeadLetters
      ]
      const denied = Effect.fail(new Error("permission denied") as never)
      const broken = {
        store: Effect.provideService(EventStore.EventStore, { ...store, head: denied }),
        followers: Effect.provideService(Checkpoints.Checkpoints, { ...checkpoints, list: denied }),
        "parked events": Effect.provideService(ParkedEvents.ParkedEvents, { ...parking, counts: denied }),
        "dead letters": Effect.provideService(DeadLetters.DeadLetters, { ...letters, counts: denied })
      }
      const usual = yield* (yield* clientOf()).Doctor({})
      const about = (lines: typeof usual) => lines.map(({ check }) => check)
      for (const [check, without] of Object.entries(broken)) {
        const lines = yield* (yield* without(clientOf())).Doctor({})
        const said = lines.find((line) => line.check === check)
        assert.deepStrictEqual([said?.level, said?.message], ["warning", "it could not be looked at: permission denied"], check)
        // Of followers it takes the log to tell how far behind they are.
        const lost = check === "followers" || check === "store" ? ["store", "followers", "follower subscription:gone"] : []
        assert.includeMembers(
          about(lines),
          about(usual).filter((name) => !lost.includes(name)),
          check
        )
      }
    })
  )

  test(
    "a store that goes on while it is looked at is not taken for one that was restored",
    Effect.gen(function* () {
      const [store, checkpoints] = [yield* EventStore.EventStore, yield* Checkpoints.Checkpoints]
      // Whenever the end of the log has been read, there is one event more, and a follower is up with it.
      let lease = yield* checkpoints.claim("subscription:mails", { owner: "mails", ttl: "1 hour" })
      const goesOn = Effect.gen(function* () {
        yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
        lease = yield* checkpoints.advance(lease, yield* store.head)
      }).pipe(Effect.orDie)
      const head = Effect.tap(store.head, () => Effect.provideService(goesOn, EventStore.EventStore, store))
      const client = yield* Effect.provideService(clientOf(), EventStore.EventStore, { ...store, head })
      const told = (yield* client.Doctor({})).filter(({ check }) => check.startsWith("checkpoint"))
      assert.deepStrictEqual(told, [])
      const steps = yield* Stream.runCollect(client.Verify({}))
      assert.deepStrictEqual(
        steps.filter(({ _tag }) => _tag === "Finding"),
        []
      )
      // And one that is ahead is said to be.
      yield* checkpoints.reset("subscription:lost", 1000)
      assert.include(
        (yield* client.Doctor({})).map(({ check }) => check),
        "checkpoint subscription:lost"
      )
    })
  )

  test(
    "followers go on being told while somebody watches",
    Effect.gen(function* () {
      logs(/mails.* parked/, /dead letter/)
      yield* place("1")
      yield* Layer.build(Followers)
      const client = yield* clientOf()
      const seen = yield* client.Followers({ every: 1000 }).pipe(Stream.take(2), Stream.runCollect)
      const mails = seen.map((all) => all.find(({ name }) => name === "subscription:mails"))
      assert.deepStrictEqual(
        mails.map((follower) => follower?.lags.length),
        [1, 2]
      )
      const error = yield* Effect.flip(Stream.runDrain(client.Followers({ every: 10 })))
      assert.strictEqual(error._tag, "InvalidRequestError")
    })
  )

  test(
    "snapshots by stream, and not their states",
    Effect.gen(function* () {
      for (const id of ["2", "1"]) {
        yield* Repository.append(Order, id, [Placed.make({ customer: "greta", total: 5 }), Paid.make({ by: "card" })])
        yield* Repository.read(Order, id)
      }
      const client = yield* clientOf()
      const first = yield* client.Snapshots({ limit: 1 })
      const second = yield* client.Snapshots({ limit: 1, after: first.next ?? "" })
      assert.deepStrictEqual(
        [...first.items, ...second.items].map(({ bytes, stream, version }) => [stream, version, bytes > 10]),
        [
          ["Order-1", 2, true],
          ["Order-2", 2, true]
        ]
      )
      assert.strictEqual(second.next, null)
      assert.deepStrictEqual(
        (yield* client.Snapshots({ stream: "Order-2" })).items.map(({ stream }) => stream),
        ["Order-2"]
      )
    })
  )

  test(
    "what is parked comes page after page",
    Effect.gen(function* () {
      const parking = yield* ParkedEvents.ParkedEvents
      const parkedAt = yield* DateTime.now
      for (const subscription of ["b", "a"]) {
        for (const position of [1, 2, 10]) {
          yield* parking.park({ subscription, position, stream: "S-1", type: "T", cause: "no", attempts: 1, parkedAt })
        }
      }
      const client = yield* clientOf()
      const first = yield* client.Parked({ limit: 4 })
      const second = yield* client.Parked({ limit: 4, after: first.next ?? "" })
      assert.deepStrictEqual(
        [...first.items, ...second.items].map(({ follower, position }) => `${follower} ${position}`),
        ["a 1", "a 2", "a 10", "b 1", "b 2", "b 10"]
      )
      assert.strictEqual(second.next, null)
      assert.deepStrictEqual(
        (yield* client.Parked({ follower: "b", limit: 1 })).items.map(({ position }) => position),
        [1]
      )
    })
  )

  test(
    "the tail gives what comes, in arrays",
    Effect.gen(function* () {
      yield* place("1")
      const client = yield* clientOf()
      const seen = yield* client.Tail({ after: 0, filter: { types: ["Placed"] } }).pipe(
        Stream.tap(() => Effect.ignore(Effect.andThen(EventStore.append("X-1", [{ type: "Other", payload: {} }]), place("2")))),
        Stream.flattenIterable,
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(
        seen.map(({ stream }) => stream),
        ["Order-1", "Order-2"]
      )
    })
  )

  test(
    "a verification reads everything, and gives the digest of a copy",
    Effect.gen(function* () {
      for (const order of ["1", "2", "3"]) yield* place(order)
      const client = yield* clientOf()
      const steps = yield* Stream.runCollect(client.Verify({}))
      const end = steps.at(-1)
      const copied = yield* EventStore.copy(yield* EventStore.EventStore, yield* EventStore.makeMemory)
      assert.deepStrictEqual(end, {
        _tag: "Verified",
        events: 3,
        removed: 0,
        findings: 0,
        digest: copied.digest,
        chained: null
      })
    })
  )

  test(
    "what makes no sense is refused, and says what to do",
    Effect.gen(function* () {
      for (const order of ["1", "2", "3"]) yield* place(order)
      const client = yield* clientOf()
      for (const limit of [0, -1]) {
        assert.deepStrictEqual(yield* messageOf(client.Events({ limit })), [
          "InvalidRequestError",
          `limit must be at least 1, not ${limit}`
        ])
      }
      assert.strictEqual((yield* client.Events({ limit: 1e9 })).items.length, 3)
      const { next } = yield* client.Events({ limit: 1 })
      const foreign = next ?? ""
      for (const refused of [
        client.Streams({ after: foreign }),
        client.Trail({ correlationId: "c", after: foreign }),
        client.Events({ after: foreign, filter: { types: ["Placed"] } }),
        client.Parked({ after: "%%%" }),
        client.Leases({ after: "" }),
        client.Trail({ correlationId: "" }),
        client.StreamEvents({ stream: "" }),
        client.Streams({ category: "" }),
        client.Events({ filter: { types: [""] } }),
        Stream.runDrain(client.Tail({ after: 0, filter: { types: [""] } }))
      ]) {
        assert.strictEqual(
          (yield* messageOf(Effect.asVoid(refused as Effect.Effect<unknown, unknown>)))[0],
          "InvalidRequestError"
        )
      }
      const exit = yield* Effect.exit(Stream.runDrain(client.Tail({ after: -1 })))
      assert.include(exit._tag === "Failure" ? Cause.pretty(exit.cause) : "", "after must be a position")
    })
  )
})
