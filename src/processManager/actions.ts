import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Command from "../definitions/Command.ts"
import type * as Event from "../definitions/Event.ts"

/**
 * What a process does: `Commands` are the commands that it may execute, `Deadlines` the deadline events that it may set.
 *
 * @category models
 * @since 0.1.0
 */
export type Action<Commands extends string = string, Deadlines extends Tagged = Tagged> =
  | Send<Commands, Deadlines>
  | SetDeadline<Deadlines>
  | CancelDeadline<Deadlines["_tag"]>

export interface Tagged {
  readonly _tag: string
}

/**
 * A command to execute, and what to do if it is rejected.
 *
 * @category models
 * @since 0.1.0
 */
export interface Send<out Commands extends string, out Deadlines extends Tagged> {
  readonly _tag: "Send"
  readonly command: Command.Any
  readonly payload: unknown
  readonly onRejected: (error: never) => ReadonlyArray<Action<Commands, Deadlines>>
  /** In types alone: without it the compiler would take two commands for one, where a reaction sends this or that. */
  readonly "~commands"?: Commands
}

/**
 * A deadline to set: the event that is recorded when its time has come, and when that is.
 *
 * @category models
 * @since 0.1.0
 */
export interface SetDeadline<out Deadline extends Tagged> {
  readonly _tag: "SetDeadline"
  readonly event: Deadline
  readonly due: Duration.Input | DateTime.Utc
}

/**
 * A deadline to cancel, by the type of its event.
 *
 * @category models
 * @since 0.1.0
 */
export interface CancelDeadline<out Type extends string> {
  readonly _tag: "CancelDeadline"
  readonly type: Type
}

export type CommandsOf<A> = A extends Send<infer Commands, infer _> ? Commands : never
type DeadlinesOf<A> =
  A extends Send<infer _, infer Deadlines> ? Deadlines : A extends SetDeadline<infer Deadline> ? Deadline : never

/**
 * Executes a command on the bus, in the unit of work of the reaction.
 *
 * For a command that declares an error, `onRejected` says what is done then: what the command had staged is dropped, and the rest of
 * the reaction stands. All other failures (conflicts beyond some retries, the store, defects) undo the whole reaction, which is
 * tried again as `retry` of the Layer says.
 *
 * @category actions
 * @since 0.1.0
 */
export const send: <C extends Command.Any, const A extends Action = never>(
  command: C,
  payload: Command.PayloadInput<C>,
  ...onRejected: [Command.Error<C>] extends [never] ? [] : [onRejected: (error: Command.Error<C>) => ReadonlyArray<A>]
) => Send<C["_tag"] | CommandsOf<A>, DeadlinesOf<A>> = (
  command: Command.Any,
  payload: unknown,
  onRejected: (error: never) => ReadonlyArray<Action> = () => []
): Send<never, never> => ({
  _tag: "Send",
  command,
  payload,
  // What it may do is in the type of the call.
  onRejected: onRejected as Send<never, never>["onRejected"]
})

/**
 * Sets a deadline of the process: when it is due, the event is recorded in the process's stream, and the process reacts to it. A
 * process has one deadline of a type at a time: setting it again takes the place of the one before.
 *
 * It is due at an instant, or so long after the event that is reacted to was recorded. One that is in the past is due at once. What leads to no time
 * (`"Infinity"`, a duration made of `NaN`) fails the reaction, with a `RangeError` that names the process and the deadline.
 *
 * @category actions
 * @since 0.1.0
 */
export const setDeadline = <const Deadline extends Tagged>(
  event: Deadline,
  due: Duration.Input | DateTime.Utc
): SetDeadline<Deadline> => ({ _tag: "SetDeadline", event, due })

/**
 * Cancels the deadline of that type, if one is set: also if its time has come but its turn has not.
 *
 * @category actions
 * @since 0.1.0
 */
export const cancelDeadline = <Deadline extends Event.Any>(deadline: Deadline): CancelDeadline<Deadline["type"]> => ({
  _tag: "CancelDeadline",
  type: deadline.type
})
