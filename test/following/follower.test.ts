import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  type Action,
  initial,
  type Input,
  isLeaving,
  isUrgent,
  mayBegin,
  nameOf,
  type Settings,
  type State as FollowerState,
  step
} from "../../src/following/follower.ts"

interface Event {
  readonly position: number
}

type State = FollowerState<Event, string>
type In = Input<Event, string>
type Out = Action<Event, string>

const settings: Settings = { batch: 4, afterPages: "look" }

const at = (...positions: ReadonlyArray<number>): ReadonlyArray<Event> => positions.map((position) => ({ position }))

/** The state after inputs, and what the last of them asked for. */
const after = (inputs: ReadonlyArray<In>, from: State = initial()): readonly [State, ReadonlyArray<Out>] =>
  inputs.reduce<readonly [State, ReadonlyArray<Out>]>(([state], input) => step(settings, state, input), [from, []])

// -----------------------------------------------------------------------------
// inputs, in short
// -----------------------------------------------------------------------------

const started: In = { _tag: "Started" }
const claimed = (position = 10): In => ({ _tag: "Claimed", position })
const held: In = { _tag: "Held" }
const looked = (head: number, clear: number): In => ({ _tag: "Looked", head, clear })
const arrived = (...positions: ReadonlyArray<number>): In => ({
  _tag: "Arrived",
  events: at(...positions),
  to: positions.at(-1) ?? 0
})
const handled = (position: number): In => ({ _tag: "Settled", position, as: "handled" })
const refused = (position: number): In => ({ _tag: "Refused", position, cause: "no" })
const retrying: In = { _tag: "Retrying", cause: "not yet" }
const retried: In = { _tag: "Retried" }
const ended: In = { _tag: "Ended" }
const kept = (position: number | undefined): In => ({ _tag: "Kept", position })
const advanced = (position: number): In => ({ _tag: "Advanced", position })
const released: In = { _tag: "Released" }
const woke: In = { _tag: "Woke" }
const exhausted: In = { _tag: "Exhausted" }
const failed: In = { _tag: "Failed", cause: "away" }
const senseless: In = { _tag: "Failed", cause: "another number of partitions", halts: true }
const broke: In = { _tag: "Broke", cause: "fenced" }
const tick: In = { _tag: "Tick" }
const pause: In = { _tag: "Pause" }
const resume: In = { _tag: "Resume" }
const closed: In = { _tag: "Closed" }

const claim = (first = true): Out => ({ _tag: "Claim", first })
const standBy: Out = { _tag: "StandBy" }
const look = (after: number): Out => ({ _tag: "Look", after })
const read = (after: number): Out => ({ _tag: "Read", after })
const begin = (...positions: ReadonlyArray<number>): Out => ({ _tag: "Begin", events: at(...positions) })
const advance = (to: number): Out => ({ _tag: "Advance", to })
const release: Out = { _tag: "Release" }
const wait = (cause: string, anew = false): Out => ({ _tag: "Wait", cause, anew })
const halt = (position: number | undefined, cause = "no"): Out => ({ _tag: "Halt", reason: { _tag: "Failure", cause, position } })
const stop = (cause?: string): Out => ({ _tag: "Stop", cause })

// -----------------------------------------------------------------------------
// the rows of the machine
// -----------------------------------------------------------------------------

/** How each state is come to. */
const paths = {
  "not started": [],
  starting: [started],
  standby: [started, held],
  "standby, asking again": [started, held, woke],
  "catching up, looking": [started, claimed()],
  "catching up, reading": [started, claimed(), looked(20, 10)],
  "catching up, at work": [started, claimed(), looked(20, 10), arrived(11, 12, 15, 16, 17)],
  "catching up, at work on two": [started, claimed(), looked(20, 10), arrived(11, 12, 15, 16, 17), handled(11), handled(15)],
  "moving the checkpoint": [started, claimed(), looked(20, 10), arrived(11, 12), handled(11), handled(12), ended],
  live: [started, claimed(), looked(10, 10)],
  "live, at work": [started, claimed(), looked(10, 10), arrived(11)],
  "trying again": [started, claimed(), looked(10, 10), arrived(11), retrying],
  "backing off": [started, claimed(), failed, released],
  "backing off after work": [started, claimed(), looked(20, 10), arrived(11), handled(11), ended, advanced(11), failed, released],
  paused: [started, claimed(), looked(10, 10), pause],
  "paused, with more": [started, claimed(), looked(20, 10), pause, arrived(11, 12)],
  "paused, at work": [started, claimed(), looked(20, 10), arrived(11, 12), handled(11), pause],
  "paused, standing by": [started, pause, held],
  halting: [started, claimed(), looked(20, 10), arrived(11, 12, 15), handled(11), refused(12)],
  "failing, at work": [started, claimed(), looked(20, 10), arrived(11, 12), handled(11), broke],
  "closing, at work": [started, claimed(), looked(20, 10), arrived(11, 12), handled(11), closed],
  "closing, giving the lease back": [started, claimed(), looked(10, 10), closed],
  halted: [started, senseless],
  stopped: [started, closed, held]
} as const satisfies Record<string, ReadonlyArray<In>>

/** From where, by which inputs (the last of them counts), to which state, and what is asked for. */
const rows: ReadonlyArray<readonly [from: keyof typeof paths, inputs: ReadonlyArray<In>, to: string, asks: ReadonlyArray<Out>]> =
  [
    // starting
    ["not started", [started], "starting", [claim()]],
    ["not started", [pause], "starting", []],
    ["not started", [closed], "stopped", [stop()]],
    ["starting", [started], "starting", []],
    ["starting", [claimed()], "catching-up", [look(10)]],
    ["starting", [held], "standby", [standBy]],
    ["starting", [failed], "backing-off", [wait("away")]],
    ["starting", [senseless], "halted", [halt(undefined, "another number of partitions")]],
    ["starting", [broke], "starting", []],
    ["starting", [tick], "starting", []],
    ["starting", [pause, claimed()], "paused", []],
    ["starting", [pause, resume, claimed()], "catching-up", [look(10)]],
    ["starting", [closed], "starting", []],
    ["starting", [closed, claimed()], "catching-up", [release]],
    ["starting", [closed, held], "stopped", [stop()]],
    ["starting", [closed, failed], "stopped", [stop()]],
    // standby
    ["standby", [woke], "standby", [claim(false)]],
    ["standby", [tick], "standby", []],
    ["standby", [resume], "standby", []],
    ["standby", [closed], "standby", []],
    ["standby", [closed, woke], "stopped", [stop()]],
    ["standby, asking again", [held], "standby", [standBy]],
    ["standby, asking again", [claimed(3)], "catching-up", [look(3)]],
    ["standby, asking again", [failed], "backing-off", [wait("away")]],
    ["paused, standing by", [woke], "standby", [claim(false)]],
    ["paused, standing by", [woke, claimed()], "paused", []],
    // catching up
    ["catching up, looking", [looked(20, 10)], "catching-up", [read(10)]],
    ["catching up, looking", [looked(20, 20)], "catching-up", [advance(20)]],
    ["catching up, looking", [looked(20, 20), advanced(20)], "live", [read(20)]],
    ["catching up, looking", [looked(10, 10)], "live", [read(10)]],
    ["catching up, looking", [looked(9, 10)], "catching-up", [release]],
    [
      "catching up, looking",
      [looked(9, 10), released],
      "halted",
      [{ _tag: "Halt", reason: { _tag: "Ahead", position: 10, head: 9 } }]
    ],
    ["catching up, looking", [failed], "catching-up", [release]],
    ["catching up, looking", [broke], "catching-up", []],
    ["catching up, looking", [broke, looked(20, 10)], "catching-up", [release]],
    ["catching up, looking", [pause, looked(20, 10)], "paused", []],
    ["catching up, looking", [pause, looked(20, 20)], "paused", [advance(20)]],
    ["catching up, reading", [arrived(11, 12)], "catching-up", [begin(11, 12)]],
    ["catching up, reading", [arrived(11, 12, 13, 14, 15)], "catching-up", [begin(11, 12, 13, 14)]],
    ["catching up, reading", [arrived(9, 10, 11)], "catching-up", [begin(11)]],
    ["catching up, reading", [{ _tag: "Arrived", events: [], to: 30 }], "catching-up", [read(30)]],
    ["catching up, reading", [tick], "catching-up", [look(10)]],
    ["catching up, reading", [tick, arrived(11), looked(20, 10)], "catching-up", [begin(11)]],
    ["catching up, reading", [tick, arrived(11), looked(20, 20)], "catching-up", [begin(11)]],
    ["catching up, reading", [tick, arrived(15), looked(20, 20)], "catching-up", [advance(14)]],
    ["catching up, reading", [broke], "catching-up", [release]],
    ["catching up, reading", [pause], "paused", []],
    ["catching up, reading", [closed], "catching-up", [release]],
    // at work
    ["catching up, at work", [handled(11)], "catching-up", []],
    ["catching up, at work", [handled(11), ended], "catching-up", [advance(11)]],
    ["catching up, at work", [handled(11), ended, advanced(11)], "catching-up", [begin(12, 15, 16, 17)]],
    ["catching up, at work", [handled(12), ended], "catching-up", [begin(11, 15, 16)]],
    ["catching up, at work", [handled(12), handled(11), ended], "catching-up", [advance(12)]],
    ["catching up, at work", [ended], "catching-up", [begin(11, 12, 15, 16)]],
    ["catching up, at work", [arrived(18, 19)], "catching-up", []],
    ["catching up, at work", [tick, handled(11), ended, advanced(11)], "catching-up", [look(17)]],
    ["catching up, at work", [handled(99), handled(10), handled(13), ended], "catching-up", [begin(11, 12, 15, 16)]],
    ["catching up, at work", [failed], "catching-up", [release]],
    ["catching up, at work", [handled(11), failed], "catching-up", [advance(11)]],
    ["catching up, at work", [handled(11), failed, advanced(11)], "catching-up", [release]],
    ["catching up, at work", [handled(11), failed, failed], "catching-up", [release]],
    ["catching up, at work", [retrying], "backing-off", []],
    ["catching up, at work", [kept(11), handled(11), handled(12), ended], "catching-up", [begin(15, 16, 17)]],
    ["catching up, at work", [kept(12), handled(11), handled(12), ended], "catching-up", [advance(11)]],
    ["catching up, at work on two", [ended], "catching-up", [advance(11)]],
    ["catching up, at work on two", [ended, advanced(11)], "catching-up", [begin(12, 16, 17)]],
    ["catching up, at work on two", [handled(12), ended], "catching-up", [advance(15)]],
    ["catching up, at work on two", [advanced(11), ended], "catching-up", [begin(12, 16, 17)]],
    ["catching up, at work on two", [advanced(12), ended], "catching-up", [advance(11)]],
    ["moving the checkpoint", [advanced(12)], "catching-up", [look(12)]],
    ["moving the checkpoint", [advanced(12), looked(20, 12)], "catching-up", [read(12)]],
    ["moving the checkpoint", [advanced(12), looked(12, 12)], "live", [read(12)]],
    ["moving the checkpoint", [failed], "catching-up", [release]],
    ["moving the checkpoint", [failed, released], "backing-off", [wait("away")]],
    ["moving the checkpoint", [tick], "catching-up", []],
    ["moving the checkpoint", [pause, advanced(12)], "paused", []],
    // live
    ["live", [arrived(11)], "live", [begin(11)]],
    ["live", [arrived(11), handled(11), ended, advanced(11), looked(15, 11)], "live", [read(11)]],
    ["live", [tick], "live", [look(10)]],
    ["live", [tick, looked(12, 12)], "live", [advance(12)]],
    ["live", [tick, failed], "live", [release]],
    ["live, at work", [retrying], "backing-off", []],
    ["trying again", [retried], "live", []],
    ["trying again", [retrying, retried], "backing-off", []],
    ["trying again", [retried, handled(11), ended], "live", [advance(11)]],
    ["trying again", [pause, retried], "live", []],
    ["trying again", [pause, retried, ended], "paused", []],
    ["trying again", [retried, refused(11), ended], "live", [release]],
    // backing off
    ["backing off", [woke], "starting", [claim()]],
    ["backing off", [exhausted], "stopped", [stop("away")]],
    ["backing off", [pause], "backing-off", []],
    ["backing off", [pause, woke, claimed()], "paused", []],
    ["backing off", [closed, woke], "stopped", [stop()]],
    ["backing off", [woke, failed], "backing-off", [wait("away")]],
    ["backing off after work", [woke, claimed(11), failed, released], "backing-off", [wait("away")]],
    // paused
    ["paused", [resume], "live", []],
    ["paused", [arrived(11)], "paused", []],
    ["paused", [arrived(11), resume], "live", [begin(11)]],
    ["paused", [tick], "paused", []],
    ["paused", [tick, resume], "live", [look(10)]],
    ["paused", [broke], "paused", [release]],
    ["paused", [closed], "paused", [release]],
    ["paused", [closed, released], "stopped", [stop()]],
    ["paused, with more", [resume], "catching-up", [begin(11, 12)]],
    ["paused, at work", [ended], "paused", [advance(11)]],
    ["paused, at work", [ended, advanced(11)], "paused", []],
    ["paused, at work", [ended, advanced(11), resume], "catching-up", [begin(12)]],
    ["paused, at work", [resume], "catching-up", []],
    ["paused, at work", [handled(12), ended, advanced(12), resume], "catching-up", [look(12)]],
    // on the way out
    ["halting", [handled(15), ended], "catching-up", [advance(11)]],
    ["halting", [refused(15), ended, advanced(11), released], "halted", [halt(12)]],
    ["halting", [resume, ended, advanced(11), released], "halted", [halt(12)]],
    ["halting", [closed, ended, advanced(11), released], "stopped", [stop()]],
    ["failing, at work", [ended], "catching-up", [advance(11)]],
    ["failing, at work", [refused(12), ended, advanced(11), released], "backing-off", [wait("fenced", true)]],
    ["failing, at work", [failed, failed], "catching-up", [release]],
    ["closing, at work", [handled(12), ended], "catching-up", [advance(12)]],
    ["closing, at work", [ended, advanced(11)], "catching-up", [release]],
    ["closing, at work", [resume, pause, tick, broke], "catching-up", []],
    ["closing, giving the lease back", [released], "stopped", [stop()]],
    ["closing, giving the lease back", [failed], "stopped", [stop()]],
    // halted, stopped
    ["halted", [resume], "starting", [claim()]],
    ["halted", [started], "halted", []],
    ["halted", [tick], "halted", []],
    ["halted", [woke], "halted", []],
    ["halted", [pause], "halted", []],
    ["halted", [broke], "halted", []],
    ["halted", [closed], "stopped", [stop()]],
    ["stopped", [resume], "stopped", []],
    ["stopped", [tick], "stopped", []],
    ["stopped", [closed], "stopped", []],
    ["stopped", [claimed()], "stopped", []],
    ["stopped", [started], "starting", [claim()]]
  ]

describe("the rows of the machine", () => {
  it("one that only measures after a page goes on meanwhile, and looks when time has passed", () => {
    const measures = { ...settings, afterPages: "measure" } as const
    const run = (inputs: ReadonlyArray<In>) =>
      inputs.reduce<readonly [State, ReadonlyArray<Out>]>(([state], input) => step(measures, state, input), [initial(), []])
    const worked = [started, claimed(), looked(20, 10), arrived(11, 12), handled(11), handled(12), ended] as const
    assert.deepEqual(run([...worked, advanced(12)])[1], [{ _tag: "Measure" }, read(12)])
    const [state, actions] = run([...worked, advanced(12), { _tag: "Measured", head: 24 }])
    assert.deepEqual([nameOf(state), state.lag, actions], ["catching-up", 12, []])
    const [live] = step(measures, state, tick)
    assert.deepEqual(step(measures, live, looked(24, 24))[1], [advance(24)])
  })

  for (const [from, inputs, to, asks] of rows) {
    const title = inputs.map((input) => ("position" in input ? `${input._tag} ${input.position}` : input._tag)).join(", ")
    it(`${from}: ${title}`, () => {
      const [state, actions] = after(inputs, after(paths[from])[0])
      assert.deepEqual([nameOf(state), actions], [to, asks])
    })
  }

  it("what no input can change is told to nobody", () => {
    for (const path of Object.values(paths)) {
      const [state] = after(path)
      const inputs: ReadonlyArray<In> = [
        claimed(),
        held,
        released,
        woke,
        exhausted,
        looked(50, 50),
        ended,
        handled(11),
        refused(11)
      ]
      for (const input of inputs) {
        const answers: Record<string, ReadonlyArray<string>> = {
          claim: ["Claimed", "Held"],
          look: ["Looked"],
          batch: ["Ended", "Settled", "Refused"],
          release: ["Released"],
          wait: ["Woke", "Exhausted"]
        }
        if (answers[state.busy ?? ""]?.includes(input._tag) === true) continue
        assert.deepEqual(step(settings, state, input), [state, []], `${input._tag} when ${state.busy} is in hand`)
      }
    }
  })

  it("waits begin anew once something has been done, and only then", () => {
    const work = [looked(20, 10), arrived(11), handled(11), ended] as const
    const [, [outage]] = after([started, claimed(), ...work, advanced(11), failed, released])
    const [, [unshown]] = after([started, claimed(), ...work, failed, released])
    const [, [passed]] = after([started, claimed(), looked(20, 20), advanced(20), broke, released])
    assert.deepEqual([outage, unshown, passed], [wait("away", true), wait("away"), wait("fenced")])
  })
})

// -----------------------------------------------------------------------------
// for any sequence of inputs
// -----------------------------------------------------------------------------

/** Of the positions of the log, those that the filter lets through. */
const isOurs = (position: number) => position % 3 !== 1

/**
 * A log, a checkpoint in storage, and somebody who answers what the machine asks for: truthfully, but in whatever order, with whatever
 * outcome. It notes all that it sees wrong.
 */
class World {
  state: State = initial()
  head = 5
  /** The checkpoint as it is stored. */
  stored = 0
  readonly done = new Set<number>()
  readonly begun: Array<number> = []
  /** What the machine has asked for and has no answer to. */
  asked: Out | undefined
  wanted: number | undefined
  cursor: number | undefined
  keeping: number | undefined
  closed = false

  feed(input: In) {
    const before = this.state
    const [next, actions] = step(settings, before, input)
    this.state = next
    for (const action of actions) this.take(action)
    this.check(before, input)
  }

  take(action: Out) {
    if (action._tag === "Read") {
      this.cursor ??= action.after
      this.wanted = this.cursor
      return
    }
    assert.equal(this.asked, undefined, `${action._tag} while ${this.asked?._tag} is in hand`)
    const { state } = this
    switch (action._tag) {
      case "Begin":
        assert.ok(state.holds && !isLeaving(state) && !this.closed, "nothing begins")
        assert.ok(action.events.length > 0 && action.events.length <= settings.batch)
        for (const { position } of action.events) assert.ok(!this.done.has(position) || position > this.stored)
        break
      case "Advance":
        assert.ok(action.to > this.stored, "the checkpoint goes on")
        this.passes(action.to)
        break
      case "Claim":
      case "Wait":
      case "Halt":
      case "StandBy":
        assert.ok(!state.holds && !this.closed, `${action._tag} without the lease`)
        break
      case "Stop":
        assert.ok(!state.holds)
    }
    this.asked = action._tag === "Halt" || action._tag === "Stop" ? undefined : action
  }

  /** The first invariant: all of ours up to there has come to its end, and nothing is kept. */
  passes(to: number) {
    for (let position = 1; position <= to; position++) {
      assert.ok(!isOurs(position) || this.done.has(position), `the checkpoint ${to} would pass the event ${position}`)
    }
    assert.ok(this.keeping === undefined || to < this.keeping, `the checkpoint ${to} would pass what is kept`)
  }

  check(before: State, input: In) {
    const { state } = this
    if (state.holds) {
      assert.equal(state.checkpoint, this.stored, "the checkpoint is what is stored")
      if (before.holds && input._tag !== "Claimed") {
        assert.ok(state.checkpoint >= before.checkpoint && state.read >= before.read && state.reach >= before.reach)
      }
      // What has arrived is waiting, in flight, settled, or passed over.
      for (let position = state.checkpoint + 1; position <= state.read; position++) {
        if (!isOurs(position) || this.done.has(position)) continue
        assert.ok(
          [...state.queue, ...state.batch].some((event) => event.position === position),
          `${position} is forgotten`
        )
      }
    }
    if (before.phase === "halted") {
      assert.ok(state.phase === "halted" || input._tag === "Resume" || input._tag === "Closed", "halted until it is resumed")
    }
    if (before.phase === "stopped") assert.ok(state.phase === "stopped" || input._tag === "Started")
    assert.ok(nameOf(state) !== "paused" || state.paused)
    assert.ok(!isUrgent(state) || isLeaving(state))
  }

  /** Answers what is asked for; with `bad`, by a failure. */
  answer(bad: boolean, n: number) {
    const { asked, state } = this
    if (asked === undefined) return
    if (asked._tag === "Begin") return this.work(asked.events, bad, n)
    this.asked = undefined
    if (bad && asked._tag !== "Wait" && asked._tag !== "StandBy") return this.feed({ _tag: "Failed", cause: "away" })
    switch (asked._tag) {
      case "Claim":
        if (n % 4 === 3) return this.feed(held)
        this.cursor = undefined
        this.wanted = undefined
        this.keeping = undefined
        return this.feed(claimed(this.stored))
      case "Look": {
        let clear = this.head
        for (let position = this.head; position > asked.after; position--) if (isOurs(position)) clear = asked.after
        return this.feed(looked(this.head, Math.max(clear, asked.after)))
      }
      case "Advance":
        this.stored = asked.to
        return this.feed(advanced(asked.to))
      case "Release":
        return this.feed(released)
      case "StandBy":
        return this.feed(woke)
      case "Wait":
        return this.feed(n % 8 === 7 && !state.holds ? exhausted : woke)
    }
  }

  /** One step of what is in flight, in whatever order. */
  work(events: ReadonlyArray<Event>, bad: boolean, n: number) {
    const open = events.filter(({ position }) => mayBegin(this.state, position))
    const chosen = open[n % Math.max(1, open.length)]
    if (chosen === undefined || n % 7 === 6) {
      this.asked = undefined
      return this.feed(bad ? failed : ended)
    }
    const { position } = chosen
    assert.ok(!this.state.paused && this.state.ending === undefined && !this.closed, "nothing begins")
    this.begun.push(position)
    if (bad && n % 2 === 0) return this.feed(n % 4 === 0 ? refused(position) : retrying)
    if (n % 11 === 10) this.keep(position)
    this.done.add(position)
    this.feed(n % 3 === 0 ? handled(position) : { _tag: "Settled", position, as: "parked" })
    // In one transaction with what was done.
    const settled = this.state.reach
    if (n % 5 === 4 && settled > this.stored && (this.keeping === undefined || settled < this.keeping)) {
      this.passes(settled)
      this.stored = settled
      this.feed(advanced(settled))
    }
  }

  keep(position: number) {
    this.keeping ??= position
    this.feed(kept(this.keeping))
  }

  /** A page of what is beyond the cursor. */
  page(n: number) {
    if (this.wanted === undefined || this.cursor === undefined) return
    const to = Math.min(this.head, this.cursor + 1 + (n % 6))
    if (to <= this.cursor) return
    const events = Array.from({ length: to - this.cursor }, (_, index) => (this.cursor ?? 0) + index + 1).filter(isOurs)
    this.cursor = to
    this.wanted = undefined
    this.feed({ _tag: "Arrived", events: at(...events), to })
  }

  /** Somebody else took the name over, and has done all that was left. */
  superseded() {
    if (this.state.holds) return
    for (let position = 1; position <= this.head; position++) this.done.add(position)
    this.stored = this.head
  }

  move(kind: number, n: number) {
    switch (kind) {
      case 0:
        this.head += n % 5
        return
      case 1:
        return this.page(n)
      case 2:
        return this.answer(true, n)
      case 3:
        return this.feed(pause)
      case 4:
        return this.feed(resume)
      case 5:
        return this.feed(tick)
      case 6:
        return this.feed(broke)
      case 7:
        return this.superseded()
      case 8:
        if (this.keeping === undefined) return
        this.keeping = undefined
        return this.feed(kept(undefined))
      case 9:
        return this.feed(retried)
      case 10:
        if (n % 10 !== 0) return
        this.closed = true
        return this.feed(closed)
      case 11:
        // What answers nothing.
        for (const input of [handled(this.head + n + 1), refused(0), advanced(this.head + n + 1)] as const) this.feed(input)
        return
      case 12:
        if (this.state.phase === "halted") return this.feed(resume)
        return
      default:
        return this.answer(false, n)
    }
  }
}

const Moves = Schema.Array(
  Schema.Struct({
    kind: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 24 })),
    n: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))
  })
).check(Schema.isMaxLength(400))

describe("for any sequence of inputs", () => {
  it.prop(
    "the checkpoint passes nothing that is open, positions go on, nothing is forgotten, and nothing begins that must not",
    [Moves],
    ([moves]) => {
      const world = new World()
      world.feed(started)
      for (const { kind, n } of moves) world.move(kind, n)
    },
    { arbitrary: { runs: 1000, size: 300 } }
  )

  it.prop(
    "whatever has happened, it comes to the end of the log when nothing fails any more, and stops when it is closed",
    [Moves],
    ([moves]) => {
      const world = new World()
      world.feed(started)
      for (const { kind, n } of moves) world.move(kind === 10 ? 20 : kind, n)
      world.keeping = undefined
      world.feed(kept(undefined))
      if (world.state.phase === "stopped") world.feed(started)
      world.feed(resume)
      for (let round = 0; round < 300; round++) {
        world.page(5)
        world.answer(false, 0)
        if (round % 50 === 0) world.feed(resume)
        if (world.asked === undefined) world.feed(tick)
      }
      assert.deepEqual([nameOf(world.state), world.stored, world.state.lag], ["live", world.head, 0])
      world.closed = true
      world.feed(closed)
      for (let round = 0; round < 5; round++) world.answer(false, 0)
      assert.equal(nameOf(world.state), "stopped")
      const begun = world.begun.length
      for (const input of [resume, tick, arrived(world.head + 3), broke, pause]) world.feed(input)
      assert.equal(world.begun.length, begun)
    },
    { arbitrary: { runs: 300, size: 300 } }
  )
})
