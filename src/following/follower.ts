/**
 * What follows the log, as a pure machine: a state and an input in, the next state and what is to be done out. `running.ts` carries
 * out what it says, and answers with inputs; nothing here knows a clock, a fiber or a storage.
 *
 * The main path, and what leads away from it:
 *
 * ```text
 *   starting ──▶ catching-up ──▶ live ──────────────────────────▶ stopped    Closed, from any state
 *     ▲ │ ▲           ▲ │         ▲ │
 *     │ │ │           │ └────┬────┼─┴──▶ paused        Pause, and back by Resume
 *     │ │ │           └──────┼────┘
 *     │ │ └── backing-off ◀──┤                         Failed or Broke; or a handler is tried again
 *     │ ▼                    │
 *     │ standby              │                         Held: somebody else has the lease
 *     └───────── halted ◀────┘                         Refused, or the log ends before the checkpoint; left by Resume alone
 * ```
 *
 * What is true of every state, whatever the inputs were:
 *
 * 1. The checkpoint never passes an event that has arrived and is neither handled nor parked, nor one that is kept.
 * 2. Positions never go back: while a lease lasts, the checkpoint and what has been read only grow, and what is asked for lies beyond
 *    the checkpoint.
 * 3. One thing is in hand at a time. While something is, nothing else is asked for, except to read a page or to measure; each is
 *    answered once.
 * 4. An event begins only with the lease, and not while the follower is paused or about to end. After Closed nothing begins.
 * 5. A follower that has halted is left by Resume or Closed alone.
 * 6. Nothing waits, halts or stops with the lease: whatever ends the work, the lease is given back first.
 * 7. Nothing that has arrived is forgotten: it is waiting, in flight or settled, or it is beyond the checkpoint when the lease ends,
 *    and arrives again.
 */
import * as HashSet from "effect/HashSet"

/**
 * Where a follower of the log, or a consumer, is in its life. The page of `Subscription` shows the ways between the states.
 *
 * @category models
 * @since 0.1.0
 */
export type Name = "starting" | "standby" | "catching-up" | "live" | "backing-off" | "paused" | "halted" | "stopped"

/** What has a place in the log. */
export interface Positioned {
  readonly position: number
}

/** Why a follower halts. */
export type Reason<C> =
  | { readonly _tag: "Failure"; readonly cause: C; readonly position: number | undefined }
  /** The log ends at `head`, before the checkpoint. */
  | { readonly _tag: "Ahead"; readonly position: number; readonly head: number }

/** Why the work under a lease comes to its end. */
type Ending<C> =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Outage"; readonly cause: C }
  | { readonly _tag: "Halt"; readonly reason: Reason<C> }

/** How a follower follows. */
export interface Settings {
  /** The most events that begin at once. */
  readonly batch: number
  /**
   * What it does after each page: it looks, so that its checkpoint passes over what is not its own, or it only measures how far the
   * log is, while it goes on, and looks when it is told that time has passed.
   */
  readonly afterPages: "look" | "measure"
}

/** All that a follower knows. */
export interface State<A extends Positioned, C> {
  readonly phase: "starting" | "standby" | "working" | "backing-off" | "halted" | "stopped"
  /** What has been asked for and not been answered. */
  readonly busy: "claim" | "look" | "batch" | "advance" | "release" | "wait" | undefined
  /** Whether it shall begin nothing until it is resumed. */
  readonly paused: boolean
  readonly ending: Ending<C> | undefined
  /** Whether it has the lease. */
  readonly holds: boolean
  readonly checkpoint: number
  /** Whether the checkpoint cannot be moved any more under this lease. */
  readonly futile: boolean
  /** How far the log has been read. */
  readonly read: number
  /** Up to where everything has come to its end, and the checkpoint may go. */
  readonly reach: number
  /** What has arrived and not begun, or begun and been left, by position. */
  readonly queue: ReadonlyArray<A>
  /** What has begun together. */
  readonly batch: ReadonlyArray<A>
  /** How many of the batch have come to their end, counted up to the first that has not. */
  readonly settled: number
  /** The positions beyond that one which have come to their end. */
  readonly beyond: HashSet.HashSet<number>
  /** The checkpoint stays before this event: it has been dealt with, and has to be seen again after a restart. */
  readonly kept: number | undefined
  /** How many events wait to be tried again. */
  readonly retrying: number
  /** Whether a page has been asked for and has not arrived. */
  readonly reading: boolean
  /** Whether to look how far the log is: before anything else, or when everything that has arrived is done. */
  readonly due: "now" | "after" | undefined
  /** The newest position, when it was last looked up; fresh until the lag has been reckoned from it. */
  readonly head: number
  readonly fresh: boolean
  /** How many positions the checkpoint was behind then; unknown until it has been looked up. */
  readonly lag: number | undefined
  /** Whether it has once come up with the log under this lease. */
  readonly live: boolean
  /** Why it is backing off or halted. */
  readonly cause: C | undefined
  readonly reason: Reason<C> | undefined
  /** Whether something has come to its end that the checkpoint does not show yet, and whether one has been shown since the last wait. */
  readonly worked: boolean
  readonly moved: boolean
}

/** What happens to a follower: answers to what it has asked for, and what comes by itself. */
export type Input<A extends Positioned, C> =
  | { readonly _tag: "Started" }
  | { readonly _tag: "Claimed"; readonly position: number }
  /** Somebody else has the lease. */
  | { readonly _tag: "Held" }
  /** Nothing is left up to `clear`. */
  | { readonly _tag: "Looked"; readonly head: number; readonly clear: number }
  /** How far the log is, and nothing else. */
  | { readonly _tag: "Measured"; readonly head: number }
  /** A page, read up to `to`; perhaps how far the log is. */
  | { readonly _tag: "Arrived"; readonly events: ReadonlyArray<A>; readonly to: number; readonly head?: number | undefined }
  | { readonly _tag: "Settled"; readonly position: number; readonly as: "handled" | "parked" }
  /** An event has failed for good, and none may be passed over. */
  | { readonly _tag: "Refused"; readonly position: number; readonly cause: C }
  /** An event waits to be tried again, or has waited. */
  | { readonly _tag: "Retrying"; readonly cause: C }
  | { readonly _tag: "Retried" }
  /**
   * The batch is over; what of it has not been settled has been left. How far the log is, where pages tell how far they have been read: then
   * there is nothing to look for behind a page.
   */
  | { readonly _tag: "Ended"; readonly head?: number | undefined }
  | { readonly _tag: "Kept"; readonly position: number | undefined }
  | { readonly _tag: "Advanced"; readonly position: number }
  | { readonly _tag: "Released" }
  | { readonly _tag: "Woke" }
  /** There is no further try. */
  | { readonly _tag: "Exhausted" }
  /** What is in hand failed: an outage, unless it makes no sense to go on. */
  | { readonly _tag: "Failed"; readonly cause: C; readonly halts?: boolean | undefined }
  /** What goes on beside the work failed: the lease is lost, or the log cannot be read. */
  | { readonly _tag: "Broke"; readonly cause: C }
  /** Time has passed. */
  | { readonly _tag: "Tick" }
  | { readonly _tag: "Pause" }
  | { readonly _tag: "Resume" }
  | { readonly _tag: "Closed" }

/** What is to be done. */
export type Action<A extends Positioned, C> =
  /** The first of its kind since it started, and not the repetition of one that stands by. */
  | { readonly _tag: "Claim"; readonly first: boolean }
  | { readonly _tag: "StandBy" }
  /** Find out how far the log is, and whether anything is left beyond a position. */
  | { readonly _tag: "Look"; readonly after: number }
  /** Find out how far the log is, while all else goes on. */
  | { readonly _tag: "Measure" }
  /** Read the next page, the first time from this position on. */
  | { readonly _tag: "Read"; readonly after: number }
  | { readonly _tag: "Begin"; readonly events: ReadonlyArray<A> }
  | { readonly _tag: "Advance"; readonly to: number }
  | { readonly _tag: "Release" }
  /** Wait until it is tried again; the waits begin anew when something has been done since the last one. */
  | { readonly _tag: "Wait"; readonly cause: C; readonly anew: boolean }
  | { readonly _tag: "Halt"; readonly reason: Reason<C> }
  /** The end; with the cause of it, if it is none that was asked for. */
  | { readonly _tag: "Stop"; readonly cause: C | undefined }

type Stepped<A extends Positioned, C> = readonly [state: State<A, C>, actions: ReadonlyArray<Action<A, C>>]

/** What is known under a lease, when nothing is known yet. */
const unread = {
  queue: [],
  batch: [],
  settled: 0,
  beyond: HashSet.empty<number>(),
  kept: undefined,
  retrying: 0,
  reading: false,
  due: undefined,
  fresh: false,
  futile: false,
  live: false,
  cause: undefined,
  reason: undefined,
  worked: false
} as const

/** A follower that has not started. */
export const initial = <A extends Positioned, C>(phase: "starting" | "standby" = "starting"): State<A, C> => ({
  ...unread,
  phase,
  busy: undefined,
  paused: false,
  ending: undefined,
  holds: false,
  checkpoint: 0,
  read: 0,
  reach: 0,
  head: 0,
  lag: undefined,
  moved: false
})

/** What the outside is told of the state. */
export const nameOf = <A extends Positioned, C>(state: State<A, C>): Name => {
  if (state.phase !== "working") return state.phase
  if (state.retrying > 0) return "backing-off"
  if (state.paused && state.busy !== "batch") return "paused"
  return state.live ? "live" : "catching-up"
}

/** Whether no further event may begin. */
export const isLeaving = <A extends Positioned, C>({ ending, paused }: State<A, C>): boolean => paused || ending !== undefined

/** Whether what is in hand should come to its end soon. */
export const isUrgent = <A extends Positioned, C>({ ending }: State<A, C>): boolean =>
  ending !== undefined && ending._tag !== "Halt"

/** Whether an event of the batch in hand may begin. */
export const mayBegin = <A extends Positioned, C>(state: State<A, C>, position: number): boolean =>
  state.busy === "batch" && !isLeaving(state) && position > state.reach && !HashSet.has(state.beyond, position)

const none = <A extends Positioned, C>(state: State<A, C>): Stepped<A, C> => [state, []]

/** Asks for one thing. */
const ask = <A extends Positioned, C>(
  state: State<A, C>,
  busy: NonNullable<State<A, C>["busy"]>,
  action: Action<A, C>
): Stepped<A, C> => [{ ...state, busy }, [action]]

/** How far the checkpoint may go. */
const targetOf = <A extends Positioned, C>({ kept, reach }: State<A, C>): number =>
  kept === undefined ? reach : Math.min(reach, kept - 1)

/** What follows when nothing is in hand. */
const proceed = <A extends Positioned, C>(settings: Settings, before: State<A, C>): Stepped<A, C> => {
  if (before.busy !== undefined || before.phase !== "working") return none(before)
  const to = targetOf(before)
  if (to > before.checkpoint && !before.futile) return ask(before, "advance", { _tag: "Advance", to })
  const state = measured(before)
  if (state.ending !== undefined) return ask(state, "release", { _tag: "Release" })
  if (state.paused) return none(state)
  const { due, queue, read } = state
  if (due === "after" && queue.length === 0 && settings.afterPages === "measure") {
    const [next, actions] = proceed(settings, { ...state, due: undefined })
    return [next, [{ _tag: "Measure" }, ...actions]]
  }
  if (due === "now" || (due === "after" && queue.length === 0)) {
    return ask({ ...state, due: undefined }, "look", { _tag: "Look", after: Math.max(state.checkpoint, read) })
  }
  if (queue.length > 0) {
    const batch = queue.slice(0, settings.batch)
    const events = batch.filter(({ position }) => !HashSet.has(state.beyond, position))
    return ask({ ...state, batch, queue: queue.slice(settings.batch) }, "batch", { _tag: "Begin", events })
  }
  return state.reading ? none(state) : [{ ...state, reading: true }, [{ _tag: "Read", after: read }]]
}

/** Reckons the lag, once the checkpoint is where it can be. */
const measured = <A extends Positioned, C>(state: State<A, C>): State<A, C> => {
  if (!state.fresh) return state
  const lag = Math.max(0, state.head - (state.kept === undefined ? state.checkpoint : state.reach))
  return { ...state, fresh: false, lag, live: state.live || lag === 0 }
}

/** Without the lease: what its end leads to. */
const endOf = <A extends Positioned, C>(state: State<A, C>, ending: Ending<C>): Stepped<A, C> => {
  const ended = { ...state, ...unread, holds: false, busy: undefined, ending: undefined }
  switch (ending._tag) {
    case "Closed":
      return [{ ...ended, phase: "stopped" }, [{ _tag: "Stop", cause: undefined }]]
    case "Outage": {
      const { cause } = ending
      const backingOff = { ...ended, phase: "backing-off", moved: false, cause } as const
      return ask(backingOff, "wait", { _tag: "Wait", cause, anew: state.moved })
    }
    case "Halt": {
      const { reason } = ending
      return [{ ...ended, phase: "halted", moved: false, reason }, [{ _tag: "Halt", reason }]]
    }
  }
}

/** Ends the work under the lease, unless it is ending already. */
const ending = <A extends Positioned, C>(settings: Settings, state: State<A, C>, why: Ending<C>): Stepped<A, C> => {
  const next = { ...state, ending: state.ending ?? why }
  return state.busy === undefined && !state.holds ? endOf(next, next.ending) : proceed(settings, next)
}

const claim = <A extends Positioned, C>(state: State<A, C>): Stepped<A, C> =>
  ask({ ...state, cause: undefined, reason: undefined, phase: state.phase === "standby" ? "standby" : "starting" }, "claim", {
    _tag: "Claim",
    first: state.phase !== "standby"
  })

/** Where a position stands in the batch; -1 when it is not in it. */
const indexIn = (batch: ReadonlyArray<Positioned>, position: number): number => {
  let low = 0
  let high = batch.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const found = batch[middle]?.position ?? position
    if (found === position) return middle
    if (found < position) low = middle + 1
    else high = middle - 1
  }
  return -1
}

/** An event of the batch has come to its end. */
const settle = <A extends Positioned, C>(state: State<A, C>, position: number): State<A, C> => {
  const { batch } = state
  if (batch[state.settled]?.position !== position) {
    const index = indexIn(batch, position)
    return index < state.settled ? state : { ...state, beyond: HashSet.add(state.beyond, position) }
  }
  let settled = state.settled + 1
  let { beyond } = state
  let reach = position
  while (HashSet.size(beyond) > 0) {
    const next = batch[settled]
    if (next === undefined || !HashSet.has(beyond, next.position)) break
    beyond = HashSet.remove(beyond, next.position)
    reach = next.position
    settled++
  }
  return { ...state, settled, beyond, reach }
}

/** The batch is not in hand any more; what of it has been left comes first again. */
const putDown = <A extends Positioned, C>(state: State<A, C>): State<A, C> => ({
  ...state,
  busy: undefined,
  queue: state.settled === state.batch.length ? state.queue : [...state.batch.slice(state.settled), ...state.queue],
  worked: state.worked || state.settled > 0,
  batch: [],
  settled: 0,
  retrying: 0,
  cause: undefined
})

/** How far the log is. Where nothing that has arrived is unfinished, the checkpoint may go as far as it has been read. */
const clearUpTo = <A extends Positioned, C>(state: State<A, C>, head: number): State<A, C> => ({
  ...state,
  head: Math.max(state.head, head),
  fresh: true,
  reach: state.queue.length === 0 && state.batch.length === 0 ? Math.max(state.reach, state.read) : state.reach
})

/** Whether more of the log is known of than has been read: then it is told when that has been read, even in vain. */
export const isBehind = <A extends Positioned, C>({ head, read }: State<A, C>): boolean => read < head

/** The next state, and what is to be done. An input that answers nothing, or comes where it makes no sense, changes nothing. */
export const step = <A extends Positioned, C>(settings: Settings, state: State<A, C>, input: Input<A, C>): Stepped<A, C> => {
  switch (input._tag) {
    case "Started":
    case "Claimed":
    case "Held":
    case "Released":
    case "Woke":
    case "Exhausted":
      return onLease(settings, state, input)
    case "Looked":
    case "Measured":
    case "Arrived":
    case "Advanced":
    case "Kept":
      return onProgress(settings, state, input)
    case "Settled":
    case "Refused":
    case "Retrying":
    case "Retried":
    case "Ended":
      return state.busy === "batch" ? onBatch(settings, state, input) : none(state)
    case "Failed":
      return onFailure(settings, state, input)
    case "Broke":
      return state.holds ? ending(settings, state, { _tag: "Outage", cause: input.cause }) : none(state)
    case "Tick":
      return state.phase === "working" ? proceed(settings, { ...state, due: "now" }) : none(state)
    case "Pause":
      return proceed(settings, { ...state, paused: true })
    case "Resume": {
      const resumed = { ...state, paused: false }
      return state.phase === "halted" ? claim(resumed) : proceed(settings, resumed)
    }
    case "Closed":
      if (state.phase === "stopped") return none(state)
      return ending(settings, { ...state, ending: undefined }, { _tag: "Closed" })
  }
}

type Of<A extends Positioned, C, Tag extends Input<A, C>["_tag"]> = Extract<Input<A, C>, { readonly _tag: Tag }>

/** From one lease to the next. */
const onLease = <A extends Positioned, C>(
  settings: Settings,
  state: State<A, C>,
  input: Of<A, C, "Started" | "Claimed" | "Held" | "Released" | "Woke" | "Exhausted">
): Stepped<A, C> => {
  const { busy } = state
  const free = { ...state, busy: undefined }
  if (input._tag === "Started") {
    if (busy !== undefined || state.holds || state.phase === "halted") return none(state)
    return claim({ ...state, phase: "starting", ending: undefined, moved: false })
  }
  if (input._tag === "Claimed") {
    if (busy !== "claim") return none(state)
    const { position } = input
    const places = { checkpoint: position, read: position, reach: position, due: "now" } as const
    return proceed(settings, { ...free, ...unread, ...places, phase: "working", holds: true })
  }
  if (input._tag === "Released") {
    return busy === "release" && state.ending !== undefined ? endOf(free, state.ending) : none(state)
  }
  if (busy !== (input._tag === "Held" ? "claim" : "wait")) return none(state)
  if (state.ending !== undefined) return endOf(free, state.ending)
  switch (input._tag) {
    case "Held":
      return ask({ ...state, phase: "standby" }, "wait", { _tag: "StandBy" })
    case "Woke":
      return claim(free)
    case "Exhausted":
      return [{ ...free, phase: "stopped" }, [{ _tag: "Stop", cause: state.cause }]]
  }
}

/** How far the log is, and the checkpoint. */
const onProgress = <A extends Positioned, C>(
  settings: Settings,
  state: State<A, C>,
  input: Of<A, C, "Looked" | "Measured" | "Arrived" | "Advanced" | "Kept">
): Stepped<A, C> => {
  if (!state.holds) return none(state)
  switch (input._tag) {
    case "Looked": {
      if (state.busy !== "look") return none(state)
      const { head } = input
      const seen = { ...state, busy: undefined, head }
      if (head < state.checkpoint) {
        return ending(settings, seen, { _tag: "Halt", reason: { _tag: "Ahead", position: state.checkpoint, head } })
      }
      // What has arrived meanwhile lies beyond what was looked at, unless it was there before.
      const first = state.queue[0]
      const clear = first === undefined ? input.clear : Math.min(input.clear, first.position - 1)
      // It has looked through a part of the log in vain, and the next part comes at once.
      const more = first === undefined && clear > Math.max(state.checkpoint, state.read) && clear < head
      return proceed(settings, {
        ...seen,
        fresh: true,
        due: more ? "now" : state.due,
        read: Math.max(state.read, clear),
        reach: Math.max(state.reach, clear)
      })
    }
    case "Measured":
      return proceed(settings, { ...state, head: Math.max(state.head, input.head), fresh: true })
    case "Arrived": {
      const events = input.events.filter(({ position }) => position > state.read)
      const read = Math.max(state.read, input.to, events.at(-1)?.position ?? 0)
      const queue = state.queue.length === 0 ? events : [...state.queue, ...events]
      const arrived = { ...state, read, queue, reading: false }
      // A page without events says that the log has been looked through in vain.
      return proceed(settings, input.head === undefined || events.length > 0 ? arrived : clearUpTo(arrived, input.head))
    }
    case "Advanced": {
      const { position } = input
      const asked = state.busy === "advance" && position <= state.reach
      // Or together with the batch, in one transaction.
      if (!asked && !(state.busy === "batch" && position <= targetOf(state))) return none(state)
      if (position <= state.checkpoint) return none(state)
      const moved = { ...state, checkpoint: position, moved: state.moved || state.worked || state.settled > 0, worked: false }
      return asked ? proceed(settings, { ...moved, busy: undefined }) : none(moved)
    }
    case "Kept":
      return proceed(settings, { ...state, kept: input.position })
  }
}

/** While a batch is in hand. */
const onBatch = <A extends Positioned, C>(
  settings: Settings,
  state: State<A, C>,
  input: Of<A, C, "Settled" | "Refused" | "Retrying" | "Retried" | "Ended">
): Stepped<A, C> => {
  switch (input._tag) {
    case "Settled":
      return none(settle(state, input.position))
    case "Refused": {
      const { cause, position } = input
      if (indexIn(state.batch, position) < state.settled || HashSet.has(state.beyond, position)) return none(state)
      return ending(settings, state, { _tag: "Halt", reason: { _tag: "Failure", cause, position } })
    }
    case "Retrying":
      return none({ ...state, retrying: state.retrying + 1, cause: input.cause })
    case "Retried": {
      const retrying = Math.max(0, state.retrying - 1)
      return none({ ...state, retrying, cause: retrying === 0 ? undefined : state.cause })
    }
    case "Ended": {
      const ended = putDown(state)
      if (input.head === undefined || ended.queue.length > 0) return proceed(settings, { ...ended, due: state.due ?? "after" })
      return proceed(settings, clearUpTo({ ...ended, due: state.due === "after" ? undefined : state.due }, input.head))
    }
  }
}

/** What was in hand failed. */
const onFailure = <A extends Positioned, C>(
  settings: Settings,
  state: State<A, C>,
  { cause, halts }: Of<A, C, "Failed">
): Stepped<A, C> => {
  const { busy } = state
  if (busy === undefined) return none(state)
  const why: Ending<C> =
    halts === true ? { _tag: "Halt", reason: { _tag: "Failure", cause, position: undefined } } : { _tag: "Outage", cause }
  // Whoever fails to give the lease back is rid of it when it has run out.
  if (busy === "release") return endOf(state, state.ending ?? why)
  const free = { ...(busy === "batch" ? putDown(state) : state), busy: undefined }
  return ending(settings, busy === "advance" ? { ...free, futile: true } : free, why)
}
