/**
 * A member of a group: it talks to the server round by round. Each round says what was answered, and takes what there is room for. Of
 * many answers a round says one half, so that one half is handled while the server sees to the other.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { makeHalving } from "../internal/halving.ts"
import { makeId } from "../internal/ids.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { closed, type InFlight, makeDelivery, makeInFlight, type Members, unavailable, wrap } from "../transport/kit.ts"
import type { CloudEvent, Delivery, SubscribeOptions, TransportError } from "../transport/Transport.ts"
import { bodyOf, decode, type Entry } from "./cloudEvents.ts"
import * as scripts from "./scripts/index.ts"
import { isPassing, milliseconds, type Server } from "./server.ts"

export interface Settings {
  /** After how long without a sign of life a member's messages go to others, in milliseconds. */
  readonly lease: number
  /** How often a member asks when no wake-up comes, in milliseconds. */
  readonly poll: number
  /** Whether groups (and the stream) are created. */
  readonly create: boolean
  /** Where what goes on after a member has left is done. */
  readonly scope: Scope.Scope
}

/** How a member is told that there may be something for its group. */
export interface Listener {
  readonly group: string
  readonly wake: () => void
}

/** Of each group the members that have yet to give back what they had: whoever joins goes after them. */
export type Departures = Map<string, Set<Effect.Effect<void, TransportError>>>

/** Of one answer of the server. */
const mostTaken = 100

/** So many answers are worth a round of their own. */
const worthwhile = 32

/** About how many milliseconds a message takes by itself: on the server, and in the process until it is answered. */
const each = 0.015

/** An entry of the stream that a member has. */
interface Held {
  readonly id: string
  readonly attempt: number
}

/** What is said of a message. */
interface Answer {
  readonly held: Held
  readonly answer: string | number
  readonly resume: (confirmed: Effect.Effect<void, TransportError>) => void
}

/** What a member has, and what it has yet to say. */
interface State {
  readonly me: string
  readonly options: SubscribeOptions
  /** Taken, and not handed out yet. */
  readonly taken: Array<Held & { readonly message: CloudEvent; readonly unreadable?: string }>
  readonly inFlight: InFlight<Held>
  /** Given, and not said to the server. */
  readonly answers: Set<Answer>
  /** Said, and not confirmed by the server. */
  readonly said: Set<Answer>
  /** How many messages the server has been asked for that are not taken in. */
  wanted: number
  /** Opens when there is something to do on the server. */
  readonly work: Latch.Latch
  /** Opens when there is something to hand out. */
  readonly arrived: Latch.Latch
  /** Why answers fail at once: since the server was last asked in vain. */
  outage: TransportError | undefined
  /** Why the subscription has ended. */
  end: TransportError | undefined
}

const makeState = (me: string, options: SubscribeOptions): State => ({
  me,
  options,
  taken: [],
  inFlight: makeInFlight(),
  answers: new Set(),
  said: new Set(),
  wanted: 0,
  work: Latch.makeUnsafe(),
  arrived: Latch.makeUnsafe(),
  outage: undefined,
  end: undefined
})

const failAnswers = ({ answers, said }: State, error: TransportError) => {
  for (const given of [answers, said]) {
    for (const { resume } of given) resume(Effect.fail(error))
    given.clear()
  }
}

const addAnswer = ({ answers, work }: State, answer: Answer) => {
  answers.add(answer)
  Latch.openUnsafe(work)
}

const finish = (state: State, error: TransportError) => {
  state.end ??= error
  failAnswers(state, error)
  Latch.openUnsafe(state.arrived)
}

const warn = (state: State) => (error: TransportError) => {
  const begins = state.outage === undefined
  state.outage = error
  failAnswers(state, error)
  const what = `eventfold: the group "${state.options.group}" cannot get messages from Redis`
  return Effect.andThen(begins ? Effect.logWarning(`${what} (${error.message})`) : Effect.void, Effect.logDebug(what, error))
}

/** Joins, or comes back after an outage. It goes on until the server answers, or says what waiting does not mend. */
const joining = (server: Server, { create }: Settings, departures: Departures, state: State) => {
  const { inFlight, me, options, taken } = state
  const join = Effect.suspend(() => {
    const known = [...taken, ...inFlight.items()].flatMap(({ attempt, id }) => [id, attempt])
    const input = { stream: server.keys.stream, group: options.group, member: me, create: create ? "yes" : "no" }
    return Effect.andThen(
      Effect.forEach(departures.get(options.group) ?? [], (departure) => departure, { discard: true }),
      server.call("subscribe", server.redis.eval(scripts.join)(input, known))
    )
  })
  return join.pipe(
    Effect.tapError(warn(state)),
    Effect.retry({ schedule: defaultRestart, while: isPassing }),
    Effect.andThen(Effect.sync(() => (state.outage = undefined)))
  )
}

/** It is no message: the server is told, and an operator. */
const setAside = (state: State, { keys }: Server, held: Held, cause: unknown) =>
  Effect.suspend(() => {
    addAnswer(state, { held, answer: "unreadable", resume: () => {} })
    const what = `the entry "${held.id}" of the stream "${keys.stream}" is no message, and set aside`
    return Effect.logError(`eventfold: ${what}`, cause)
  })

/** Takes what the server has given: of each its id, its attempt, and what it is. */
const takeAll = (state: State, server: Server, entries: ReadonlyArray<Entry | number>) => {
  const unreadable: Array<Effect.Effect<void>> = []
  for (let index = 0; index < entries.length; index += 3) {
    const held = { id: String(entries[index]), attempt: Number(entries[index + 1]) }
    // The script gives three values of each.
    const entry = entries[index + 2] as Entry
    const message = decode(entry)
    if (Result.isSuccess(message)) state.taken.push({ ...held, message: message.success })
    else if (state.options.unreadable === "deliver") {
      const source = `redis:${encodeURIComponent(server.keys.stream)}`
      state.taken.push({ ...held, message: wrap({ source, id: held.id, body: bodyOf(entry) }), unreadable: message.failure })
    } else unreadable.push(setAside(state, server, held, message.failure))
  }
  if (state.taken.length > 0) Latch.openUnsafe(state.arrived)
  return Effect.all(unreadable, { discard: true })
}

/** Whether an entry of the stream comes before another one: by the milliseconds in its id, then by the number behind them. */
const isBefore = (one: string, other: string): boolean => {
  const [dash, otherDash] = [one.indexOf("-"), other.indexOf("-")]
  const millis = Number(one.slice(0, dash)) - Number(other.slice(0, otherDash))
  return millis === 0 ? Number(one.slice(dash + 1)) < Number(other.slice(otherDash + 1)) : millis < 0
}

/** The first and the last of the entries that are answered. */
const rangeOf = (answers: ReadonlyArray<Answer>): { readonly least: string; readonly greatest: string } => {
  const [first] = answers
  let [least, greatest] = [first?.held.id ?? "-", first?.held.id ?? "+"]
  for (const { held } of answers) {
    if (isBefore(held.id, least)) least = held.id
    else if (isBefore(greatest, held.id)) greatest = held.id
  }
  return { least, greatest }
}

/** What the next round says: the oldest, so many of them. */
const takeAnswers = ({ answers, said }: State, most: number): ReadonlyArray<Answer> => {
  const given = Array.from(answers).slice(0, most)
  for (const answer of given) {
    answers.delete(answer)
    said.add(answer)
  }
  return given
}

/** For how many messages there is room: those of which the server is told have gone. */
const roomOf = ({ inFlight, options: { concurrency = 1 }, said, taken, wanted }: State): number => {
  let gone = 0
  for (const { held } of said) if (inFlight.has(held)) gone++
  return concurrency - taken.length - (inFlight.size - gone) - wanted
}

/** What a round has brought. */
interface Brought {
  readonly entries: ReadonlyArray<Entry | number>
  /** How many messages the server was asked for: so many, or fewer, are in `entries`. */
  readonly wanted: number
  /** After how many milliseconds to ask again. */
  readonly pause: number
}

const nothing: Brought = { entries: [], wanted: 0, pause: 0 }

/** One round, which says what is given. What is to be done beside it is begun once the server has been asked. */
const makeRound = (server: Server, { lease, poll }: Settings, state: State) => {
  const { call, keys, redis } = server
  const { inFlight, me, said } = state
  const { group, types } = state.options
  const filter = types === undefined ? ["all"] : ["some", ...types]
  return (given: ReadonlyArray<Answer>, beside: Effect.Effect<void> | undefined): Effect.Effect<Brought, TransportError> =>
    Effect.suspend(() => {
      const wanted = Math.max(0, Math.min(roomOf(state), mostTaken))
      state.wanted += wanted
      const input = {
        stream: keys.stream,
        members: keys.members(group),
        delayed: keys.delayed(group),
        channel: keys.channel,
        group,
        member: me,
        lease,
        wanted,
        answers: given.length,
        ...rangeOf(given)
      }
      const list = [...given.flatMap(({ answer, held }) => [held.id, held.attempt, answer]), ...filter]
      const asked = Effect.tapError(call("subscribe", redis.eval(scripts.step)(input, list)), warn(state))
      const both =
        beside && Effect.map(Effect.all([asked, Effect.andThen(Effect.yieldNow, beside)], { concurrency: 2 }), ([reply]) => reply)
      return Effect.map(both ?? asked, ([next, ...entries]) => {
        for (const answer of given) {
          said.delete(answer)
          inFlight.remove(answer.held)
          answer.resume(Effect.void)
        }
        return { entries, wanted, pause: entries.length === 3 * mostTaken ? 0 : next < 0 ? poll : Math.min(next, poll) }
      })
    })
}

/** Talks to the server until it says what waiting does not mend. */
const makeRun = (server: Server, settings: Settings, departures: Departures, state: State): Effect.Effect<void> => {
  const { answers, work } = state
  const join = joining(server, settings, departures, state)
  const round = makeRound(server, settings, state)
  const halving = makeHalving({ from: 2 * worthwhile, each })
  const take = ({ entries, wanted }: Brought): Effect.Effect<void> =>
    Effect.suspend(() => {
      state.wanted -= wanted
      return takeAll(state, server, entries)
    })
  const again = Effect.suspend(() => {
    // What the server may have given for it is given back when the member comes back.
    state.wanted = 0
    return Effect.as(Effect.delay(join, "100 millis"), nothing)
  })
  return Effect.gen(function* () {
    yield* join
    let brought = nothing
    while (true) {
      // What comes from here on opens it again.
      Latch.closeUnsafe(work)
      const [since, callers] = [performance.now(), answers.size + brought.entries.length / 3]
      const given = takeAnswers(state, halving.share(callers))
      // Whoever leaves hears first what became of the answers that are on their way.
      brought = yield* Effect.catch(
        Effect.uninterruptible(round(given, brought.wanted === 0 ? undefined : take(brought))),
        () => again
      )
      halving.took({ size: given.length, callers, millis: performance.now() - since })
      if (answers.size >= worthwhile && !halving.isTogether(answers.size + brought.entries.length / 3)) continue
      yield* take(brought)
      if (brought.pause > 0 && answers.size === 0) yield* Effect.timeoutOption(Latch.await(work), brought.pause)
      brought = nothing
      // What is answered in one turn goes in one round.
      yield* Effect.yieldNow
    }
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.sync(() =>
        finish(
          state,
          Option.getOrElse(Cause.findErrorOption(cause), () => unavailable("subscribe", Cause.pretty(cause), Cause.squash(cause)))
        )
      )
    )
  )
}

/** Gives back what the member has: at once if the server answers, and otherwise as soon as it does while the Layer is open. */
const makeLeave = ({ call, keys, redis }: Server, { scope }: Settings, departures: Departures, state: State) =>
  Effect.suspend(() => {
    const { group } = state.options
    const handed = state.inFlight.items().map(({ id }) => id)
    state.inFlight.end()
    state.taken.length = 0
    finish(state, closed("subscribe"))
    const waiting = departures.get(group) ?? new Set()
    const { channel, members, stream } = keys
    const leave = redis.eval(scripts.leave)({ stream, members: members(group), channel, group, member: state.me }, handed)
    const departure: Effect.Effect<void, TransportError> = Effect.andThen(
      // What waiting does not mend is left to the lease.
      Effect.catch(call("leave", leave), (error) => (isPassing(error) ? Effect.fail(error) : Effect.void)),
      Effect.sync(() => waiting.delete(departure))
    )
    departures.set(group, waiting.add(departure))
    const later = Effect.asVoid(Effect.forkIn(Effect.retry(departure, defaultRestart), scope))
    return state.outage === undefined ? Effect.catch(departure, () => later) : later
  })

const settle = (state: State, held: Held, delay: Duration.Duration | undefined): Effect.Effect<void, TransportError> =>
  state.inFlight.settle(
    held,
    Effect.callback((resume) => {
      if (state.outage !== undefined) return resume(Effect.fail(state.outage))
      const answer = { held, answer: delay === undefined ? "ack" : milliseconds(delay), resume }
      addAnswer(state, answer)
      return Effect.sync(() => state.answers.delete(answer))
    })
  )

/** The next message that has been taken: one by one, for what is handed out counts as an attempt. */
const handOut = (state: State): Effect.Effect<Arr.NonEmptyReadonlyArray<Delivery>, TransportError> =>
  Effect.suspend(() => {
    const held = state.taken.shift()
    if (held !== undefined) {
      state.inFlight.add(held)
      return Effect.succeed([makeDelivery(held.message, held.attempt, (delay) => settle(state, held, delay), held.unreadable)])
    }
    if (state.end !== undefined) return Effect.fail(state.end)
    Latch.closeUnsafe(state.arrived)
    return Effect.andThen(Latch.await(state.arrived), handOut(state))
  })

/** Joins a group. The stream outlives outages; it fails where waiting would not help, and when the Layer closes. */
export const join = Effect.fnUntraced(function* (
  server: Server,
  settings: Settings,
  members: Members<Listener>,
  departures: Departures,
  options: SubscribeOptions
): Effect.fn.Return<Stream.Stream<Delivery, TransportError>, never, Scope.Scope> {
  const state = makeState(yield* makeId, options)
  const membership = yield* members.join(
    { group: options.group, wake: () => void Latch.openUnsafe(state.work) },
    makeLeave(server, settings, departures, state)
  )
  yield* Effect.forkIn(makeRun(server, settings, departures, state), membership)
  return Stream.fromPull(Effect.succeed(handOut(state)))
})
