/**
 * Process managers: what happens over time and across aggregates, as a pure reaction to events. A process sees an event and says
 * which commands are sent, which deadlines are set and which are cancelled.
 *
 * All that one reaction does is one unit of work: the note in the process's own stream that the event has been handled, the
 * commands with all that follows from them, the deadlines. So whatever happens between reading an event and moving the checkpoint,
 * each event is reacted to **once**, on any store: who comes second finds the note, or loses the race for the version of the
 * process's stream and then finds it.
 *
 * The stream of an instance is called `<name>-<key>`. It holds
 *
 * - `$EventHandled`: an event that was reacted to, with a copy of its payload: the state is folded from these;
 * - `$DeadlineSet` and `$DeadlineCancelled`;
 * - the deadline itself, as an event of its own type, once its time has come.
 *
 * Deadlines need nothing but the event store: they are set by the commit of the reaction and survive a restart. When one is due and
 * the process has reacted to all that was committed by then (it may have cancelled the deadline), its event is recorded: once,
 * however many watch. It is reacted to in its turn, and passed over if the deadline has been cancelled or set anew meanwhile. Time is
 * that of the clock of the process that watches; where that is put forward, a deadline may come up to an hour late. While the
 * process is halted or paused, its deadlines wait, too.
 *
 * @since 0.1.0
 */
export { type Action, type Send, type SetDeadline, type CancelDeadline, send, setDeadline, cancelDeadline } from "./actions.ts"
export { type Source, type Correlate, type React, type ProcessManager, type Any, type Commands, make } from "./definition.ts"
export { read, type Options, type Requirements, layer } from "./running.ts"
export { type Status, status, changes, pause, resume, remove } from "./steering.ts"
