import { describe, it } from "@effect/vitest"
import { Schema } from "effect"
import assert from "node:assert/strict"
import { type Action, initial, type Input, type Order, step } from "../../src/nats/order.ts"

const away = { _tag: "Away" } as const
const open = { _tag: "Open" } as const
const checking = { _tag: "Checking" } as const
const waiting = (unknown: number) => ({ _tag: "Waiting", unknown }) as const

const handOn = (message: number) => ({ _tag: "HandOn", message }) as const
const ask = (count: number) => ({ _tag: "Ask", count }) as const
const askNow = { _tag: "AskNow" } as const

const started = (pending: number) => ({ _tag: "Started", pending }) as const
/** The nth message of the stream is n. */
const received = (n: number, attempt: number) => ({ _tag: "Received", message: n, position: n, attempt }) as const
const positioned = (n: number) => ({ message: n, position: n })
const expired = (missing: number) => ({ _tag: "Expired", missing }) as const
const stopped = { _tag: "Stopped" } as const
const nothing = { _tag: "NothingGivenUp" } as const
const settled = { _tag: "Settled", returned: false } as const
const returned = { _tag: "Settled", returned: true } as const
const waited = { _tag: "Waited" } as const

const state = (more: Partial<Order<number>>): Order<number> => ({ ...initial(1), ...more })

type Row = readonly [
  name: string,
  before: Partial<Order<number>>,
  input: Input<number>,
  after: Partial<Order<number>>,
  actions: ReadonlyArray<Action<number>>
]

const held = { inFlight: 1, heldBack: positioned(7) }

const rows: ReadonlyArray<Row> = [
  // Beginning.
  ["begins with what is new where nobody has anything", {}, started(0), { phase: open, requested: 1 }, [ask(1)]],
  ["waits where others have something", {}, started(2), { phase: waiting(2), requested: 1 }, [ask(1)]],
  ["what it has itself is with nobody else", { inFlight: 1 }, started(1), { inFlight: 1, phase: open }, []],
  ["waits for what others have beside it", { inFlight: 1 }, started(3), { inFlight: 1, phase: waiting(2) }, []],
  ["hands on what it held back once nobody has anything", held, started(1), { inFlight: 1, phase: open }, [handOn(7)]],
  [
    "has one at a time, also when it begins again",
    { inFlight: 2, heldBack: positioned(7) },
    started(2),
    { inFlight: 2, heldBack: positioned(7), phase: open },
    []
  ],
  ["holds back still where others have something", held, started(2), { ...held, phase: waiting(1) }, []],
  ["forgets what it asked for before", { phase: open, requested: 1 }, started(0), { phase: open, requested: 1 }, [ask(1)]],
  // Where order does not matter, it does not wait.
  ["many: begins at once", { concurrency: 3 }, started(5), { concurrency: 3, phase: open, requested: 3 }, [ask(3)]],
  [
    "many: asks for a thousand at most",
    { concurrency: 5000 },
    started(0),
    { concurrency: 5000, phase: open, requested: 1000 },
    [ask(1000)]
  ],
  // New messages.
  ["open: hands on what is new", { phase: open, requested: 1 }, received(7, 1), { phase: open, inFlight: 1 }, [handOn(7)]],
  ["waiting: holds back what is new", { phase: waiting(2), requested: 1 }, received(7, 1), { ...held, phase: waiting(2) }, []],
  [
    "checking: what is new comes after all that was given up",
    { ...held, phase: checking, requested: 1 },
    received(8, 1),
    { phase: open, inFlight: 2, heldBack: positioned(8) },
    [handOn(7)]
  ],
  ["away: hands on what came too late to be unasked", {}, received(7, 1), { inFlight: 1 }, [handOn(7)]],
  // What was given up.
  [
    "waiting: hands on what was given up, and waits for the others",
    { phase: waiting(2), requested: 1 },
    received(3, 2),
    { phase: waiting(1), inFlight: 1 },
    [handOn(3)]
  ],
  [
    "waiting: is open with the last that was given up",
    { phase: waiting(1), requested: 1 },
    received(3, 2),
    { phase: open, inFlight: 1 },
    [handOn(3)]
  ],
  [
    "checking: hands on what was given up",
    { ...held, phase: checking, requested: 1 },
    received(3, 2),
    { phase: checking, inFlight: 2, heldBack: positioned(7) },
    [handOn(3)]
  ],
  [
    "checking: what was given up and comes after what is held back waits in its place",
    { ...held, phase: checking, requested: 1 },
    received(8, 2),
    { phase: open, inFlight: 2, heldBack: positioned(8) },
    [handOn(7)]
  ],
  ["open: hands on what was given up", { phase: open, requested: 1 }, received(3, 5), { phase: open, inFlight: 1 }, [handOn(3)]],
  // What is settled.
  ["open: asks for the next", { phase: open, inFlight: 1 }, settled, { phase: open, requested: 1 }, [ask(1)]],
  [
    "open: hands on what is held back",
    { phase: open, inFlight: 2, heldBack: positioned(8) },
    settled,
    { phase: open, inFlight: 1 },
    [handOn(8)]
  ],
  [
    "open: what is returned may come again before what is held back",
    { phase: open, inFlight: 2, heldBack: positioned(8) },
    returned,
    { phase: checking, inFlight: 1, heldBack: positioned(8), requested: 1 },
    [askNow]
  ],
  ["open: asks for what is returned", { phase: open, inFlight: 1 }, returned, { phase: open, requested: 1 }, [ask(1)]],
  ["waiting: asks for the next", { phase: waiting(1), inFlight: 1 }, settled, { phase: waiting(1), requested: 1 }, [ask(1)]],
  [
    "checking: asks whether there is another",
    { phase: checking, inFlight: 2, heldBack: positioned(7) },
    settled,
    { ...held, phase: checking, requested: 1 },
    [askNow]
  ],
  ["away: asks for nothing, and holds back", { inFlight: 2, heldBack: positioned(7) }, settled, held, []],
  [
    "many: asks for as many as it has room for",
    { concurrency: 10, phase: open, inFlight: 3 },
    settled,
    { concurrency: 10, phase: open, inFlight: 2, requested: 8 },
    [ask(8)]
  ],
  [
    "many: does not ask for each alone",
    { concurrency: 10, phase: open, inFlight: 7, requested: 1 },
    settled,
    { concurrency: 10, phase: open, inFlight: 6, requested: 1 },
    []
  ],
  [
    "many: asks before it stands still",
    { concurrency: 10, phase: open, inFlight: 5, requested: 1 },
    settled,
    { concurrency: 10, phase: open, inFlight: 4, requested: 6 },
    [ask(5)]
  ],
  // Answers without a message.
  ["open: asks again for what did not come", { phase: open, requested: 1 }, expired(1), { phase: open, requested: 1 }, [ask(1)]],
  ["waiting: asks again, too", { phase: waiting(1), requested: 1 }, expired(1), { phase: waiting(1), requested: 1 }, [ask(1)]],
  ["away: asks for nothing", {}, expired(1), {}, []],
  [
    "checking: nothing is left before what is held back",
    { ...held, phase: checking, requested: 1 },
    nothing,
    { phase: open, inFlight: 1 },
    [handOn(7)]
  ],
  // Time.
  [
    "waiting: checks before it hands on what is held back",
    { ...held, phase: waiting(2) },
    waited,
    { ...held, phase: checking, requested: 1 },
    [askNow]
  ],
  [
    "waiting: checks when what is in hand is settled",
    { phase: waiting(2), inFlight: 2, heldBack: positioned(7) },
    waited,
    { phase: checking, inFlight: 2, heldBack: positioned(7) },
    []
  ],
  ["waiting: is open where nothing is held back", { phase: waiting(2), requested: 1 }, waited, { phase: open, requested: 1 }, []],
  ["open: has not waited", { phase: open, requested: 1 }, waited, { phase: open, requested: 1 }, []],
  [
    "checking: has waited before",
    { ...held, phase: checking, requested: 1 },
    waited,
    { ...held, phase: checking, requested: 1 },
    []
  ],
  ["away: has nothing to wait for", held, waited, held, []],
  // The connection.
  ["keeps what it has when the connection goes", { ...held, phase: waiting(2), requested: 1 }, stopped, held, []]
]

describe("the order of a member of NATS", () => {
  it.each(rows)("%s", (_, before, input, after, actions) => {
    assert.deepEqual(step(state({ phase: away, ...before }), input), [state({ phase: away, ...after }), actions])
  })

  /** A server with one group, as far as its one member sees it: what is given up comes before what is new. */
  const makeServer = (count: number, lost: number) => ({
    /** Given to members that will not settle it. */
    unknown: Array.from({ length: lost }, (_, n) => n + 1),
    givenUp: new Array<number>(),
    fresh: Array.from({ length: count - lost }, (_, n) => lost + n + 1),
    delivered: new Map<number, number>(Array.from({ length: lost }, (_, n) => [n + 1, 1])),
    requests: 0,
    requestsNow: 0
  })

  const moves = ["serve", "serve", "settle", "settle", "return", "giveUp", "expire", "cut", "cutAmid"] as const
  const count = 12

  /** Plays moves against the machine, and then whatever is left, and asserts after each that the order holds. */
  const play = (concurrency: number, lost: number, script: ReadonlyArray<(typeof moves)[number]>) => {
    const server = makeServer(count, lost)
    let order: Order<number> = initial(concurrency)
    /** Handed on and not settled. */
    const inHand: Array<number> = []
    const done = new Set<number>()

    const feed = (input: Input<number>) => {
      const [next, actions] = step(order, input)
      order = next
      for (const action of actions) {
        if (action._tag === "Ask") server.requests += action.count
        else if (action._tag === "AskNow") server.requestsNow++
        else {
          if (concurrency === 1) {
            assert.equal(inHand.length, 0, "one at a time")
            for (let n = 1; n < action.message; n++) assert.ok(done.has(n), `${action.message} overtakes ${n}`)
          }
          inHand.push(action.message)
        }
      }
      assert.ok(inHand.length <= concurrency)
      assert.equal(order.inFlight, inHand.length + (order.heldBack === undefined ? 0 : 1))
    }
    const next = () => {
      const message = server.givenUp.shift() ?? server.fresh.shift()
      if (message !== undefined) server.delivered.set(message, (server.delivered.get(message) ?? 0) + 1)
      return message
    }
    const start = () => feed(started(server.unknown.length + server.givenUp.length + order.inFlight))
    const cut = () => {
      server.requests = server.requestsNow = 0
      feed(stopped)
      start()
    }
    const isAsked = () => server.requests + server.requestsNow > 0
    const serve = () => {
      if (!isAsked()) return
      const message = next()
      if (message === undefined) {
        if (server.requestsNow === 0) return
        server.requestsNow--
        return feed(nothing)
      }
      if (server.requestsNow > 0) server.requestsNow--
      else server.requests--
      feed(received(message, server.delivered.get(message) ?? 0))
    }
    const takeInHand = (then: (message: number) => void) => {
      const message = inHand.shift()
      if (message === undefined) return
      then(message)
      feed(done.has(message) ? settled : returned)
    }
    const giveUp = () => {
      const message = server.unknown.shift()
      if (message !== undefined) server.givenUp = [...server.givenUp, message].toSorted((a, b) => a - b)
      if (server.unknown.length === 0) feed(waited)
    }
    const deeds: Readonly<Record<(typeof moves)[number], () => void>> = {
      serve,
      settle: () => takeInHand((message) => done.add(message)),
      // The server puts it behind what was given up before.
      return: () => {
        if (server.givenUp.length + server.unknown.length === 0) takeInHand((message) => server.givenUp.push(message))
      },
      giveUp,
      expire: () => {
        const missing = server.requests
        if (missing === 0 || server.givenUp.length + server.fresh.length > 0) return
        server.requests = 0
        feed(expired(missing))
      },
      cut,
      // What was on its way is in unknown hands from now on: given up after all that is there already, so one such fault at a time.
      cutAmid: () => {
        const message = isAsked() && server.unknown.length + server.givenUp.length <= 1 ? next() : undefined
        if (message !== undefined) server.unknown.push(message)
        cut()
      }
    }

    start()
    for (const move of script) deeds[move]()
    for (let n = 0; done.size < count; n++) {
      assert.ok(n < 10 * count, `stands still: ${JSON.stringify(order)}`)
      giveUp()
      serve()
      deeds.settle()
    }
    assert.equal(order.heldBack, undefined)
  }

  it.prop(
    "one at a time in the order of publishing, whatever the server and the connection do",
    [Schema.Array(Schema.Literals(moves)), Schema.Literals([0, 1, 2, 3])],
    ([script, lost]) => play(1, lost, script),
    { arbitrary: { runs: 3000 } }
  )

  it.prop(
    "with more in flight, all of them and never too many",
    [Schema.Array(Schema.Literals(moves)), Schema.Literals([0, 1, 2, 3]), Schema.Literals([2, 3, 20])],
    ([script, lost, concurrency]) => play(concurrency, lost, script),
    { arbitrary: { runs: 500 } }
  )
})
