/**
 * What a member of a group asks for, hands on and holds back, so that messages are handed on in the order of publishing: a state
 * machine without a connection and without a clock.
 *
 * The server gives what was given up (`attempt` 2 and more) before what is new. So order is at risk only while messages are with
 * somebody who may never settle them: they are given up when the consumer's `ack_wait` is over, and what is new until then comes
 * too early. A member with a concurrency of 1 that begins, or connects again, in such a moment holds a new message back. When
 * `ack_wait` is over it asks for what was given up, one by one, until there is nothing left; then it hands on what it held back.
 *
 * What was given up is handed on as it comes, in the order of the server. So where several messages were given up, one of them that
 * gets lost on its way, or is given back, comes behind the others.
 *
 * | phase | a new message | one that was given up | settled | `ack_wait` is over |
 * |---|---|---|---|---|
 * | away | hands it on | hands it on | nothing | nothing |
 * | waiting | holds it back | hands it on; with the last one it is open | asks for more | checking, or open if nothing is held back |
 * | checking | open: hands on what is held back, holds this one back | the same, if it comes after what is held back; or hands it on | asks whether there is another | nothing |
 * | open | hands it on | hands it on | hands on what is held back, asks for more; checking, if it was given back before that | nothing |
 */

/** A message, with its place in the stream. */
interface Positioned<M> {
  readonly message: M
  readonly position: number
}

/** What a member knows, of messages that are `M`. */
export interface Order<M> {
  readonly concurrency: number
  /** How many messages it has been given and has not settled, also what it holds back. */
  readonly inFlight: number
  /** How many messages it has asked for that have not come. */
  readonly requested: number
  /** A message that must wait for those before it. */
  readonly heldBack: Positioned<M> | undefined
  readonly phase:
    | { readonly _tag: "Away" }
    | { readonly _tag: "Open" }
    /** So many messages of the group are in unknown hands. */
    | { readonly _tag: "Waiting"; readonly unknown: number }
    | { readonly _tag: "Checking" }
}

export type Input<M> =
  /** Receiving begins. So many messages the group has that were given to members and not settled. */
  | { readonly _tag: "Started"; readonly pending: number }
  /** Nothing is received any more. */
  | { readonly _tag: "Stopped" }
  | ({ readonly _tag: "Received"; readonly attempt: number } & Positioned<M>)
  /** So many messages that were asked for will not come. */
  | { readonly _tag: "Expired"; readonly missing: number }
  /** There is nothing that was given up. */
  | { readonly _tag: "NothingGivenUp" }
  /** A message is done with, or given back. */
  | { readonly _tag: "Settled"; readonly returned: boolean }
  /** What was in unknown hands as it began to wait is settled or given up. */
  | { readonly _tag: "Waited" }

export type Action<M> =
  | { readonly _tag: "HandOn"; readonly message: M }
  /** Asks for messages, whenever they come. */
  | { readonly _tag: "Ask"; readonly count: number }
  /** Asks for one message, if there is one now. */
  | { readonly _tag: "AskNow" }

type Step<M> = readonly [Order<M>, ReadonlyArray<Action<M>>]

/** The most messages asked for at once. */
const largestRequest = 1000

const away = { _tag: "Away" } as const
const open = { _tag: "Open" } as const
const checking = { _tag: "Checking" } as const
const none: ReadonlyArray<never> = []

/** A member that has not begun. */
export const initial = (concurrency: number): Order<never> => ({
  concurrency,
  inFlight: 0,
  requested: 0,
  heldBack: undefined,
  phase: away
})

/** Asks for as many messages as the member may have beyond those it has, but not for each of many alone. */
const asking = <M>(state: Order<M>, before: ReadonlyArray<Action<M>>): Step<M> => {
  const { concurrency, inFlight, phase, requested } = state
  const count = Math.min(concurrency - inFlight - requested, largestRequest)
  if (phase._tag === "Away" || count <= 0 || (requested > 0 && count < concurrency / 2)) return [state, before]
  return [{ ...state, requested: requested + count }, [...before, { _tag: "Ask", count }]]
}

const askingNow = <M>(state: Order<M>): Step<M> => [
  { ...state, requested: state.requested + 1, phase: checking },
  [{ _tag: "AskNow" }]
]

/** Everything before what is held back has been handed on. */
const opening = <M>(state: Order<M>, heldBack: Positioned<M> | undefined = undefined): Step<M> => [
  { ...state, heldBack, phase: open },
  state.heldBack === undefined ? none : [{ _tag: "HandOn", message: state.heldBack.message }]
]

const received = <M>(before: Order<M>, message: M, position: number, attempt: number): Step<M> => {
  const { heldBack, phase } = before
  const state = { ...before, inFlight: before.inFlight + 1, requested: Math.max(before.requested - 1, 0) }
  if (phase._tag === "Waiting" && attempt === 1) return [{ ...state, heldBack: { message, position } }, none]
  if (phase._tag === "Checking" && heldBack !== undefined && position > heldBack.position)
    return opening(state, { message, position })
  const handOn: ReadonlyArray<Action<M>> = [{ _tag: "HandOn", message }]
  if (phase._tag !== "Waiting") return [state, handOn]
  const unknown = phase.unknown - 1
  return [{ ...state, phase: unknown === 0 ? open : { _tag: "Waiting", unknown } }, handOn]
}

/** The next state, and what to do. */
export const step = <M>(state: Order<M>, input: Input<M>): Step<M> => {
  switch (input._tag) {
    case "Started": {
      const unknown = state.concurrency > 1 ? 0 : Math.max(input.pending - state.inFlight, 0)
      const begun = { ...state, requested: 0 }
      if (unknown > 0) return asking({ ...begun, phase: { _tag: "Waiting", unknown } }, none)
      // What it had in hand as it lost the connection still comes before what is held back.
      return state.inFlight > 1 ? asking({ ...begun, phase: open }, none) : asking(...opening(begun))
    }
    case "Stopped":
      return [{ ...state, requested: 0, phase: away }, none]
    case "Received":
      return asking(...received(state, input.message, input.position, input.attempt))
    case "Expired":
      return asking({ ...state, requested: Math.max(state.requested - input.missing, 0) }, none)
    case "NothingGivenUp": {
      const answered = { ...state, requested: Math.max(state.requested - 1, 0) }
      return asking(...(state.phase._tag === "Checking" ? opening(answered) : ([answered, none] as const)))
    }
    case "Settled": {
      const settled = { ...state, inFlight: Math.max(state.inFlight - 1, 0) }
      const mayComeAgain = input.returned && state.phase._tag === "Open" && state.heldBack !== undefined
      if (state.phase._tag === "Checking" || mayComeAgain) return askingNow(settled)
      return state.phase._tag === "Open" ? asking(...opening(settled)) : asking(settled, none)
    }
    case "Waited":
      if (state.phase._tag !== "Waiting") return [state, none]
      if (state.heldBack === undefined) return asking(...opening(state))
      return state.inFlight > 1 ? [{ ...state, phase: checking }, none] : askingNow(state)
  }
}
