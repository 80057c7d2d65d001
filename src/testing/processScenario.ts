import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import assert from "node:assert/strict"
import type * as Command from "../definitions/Command.ts"
import * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { dueAt } from "../internal/dueAt.ts"
import type * as ProcessManager from "../processManager/ProcessManager.ts"
import { same } from "./same.ts"

/**
 * A command with its payload: what a process has sent, or must have sent.
 *
 * @category models
 * @since 0.2.0
 */
export interface Sent<Tag extends string = string> {
  readonly command: Tag
  readonly payload: unknown
}

/**
 * A scenario of a process manager: events that are given, and time that passes. What is asked about is the last of these steps.
 *
 * Each `then…` is an effect that tells the whole story anew, and dies with an `AssertionError` when it came to something else.
 *
 * @category models
 * @since 0.2.0
 */
export interface ProcessScenario<P extends ProcessManager.Any> {
  /** The same, and then these events come, at the time that it is. */
  readonly given: (events: ReadonlyArray<P["events"][number]["Type"]>) => ProcessScenario<P>
  /**
   * The same, and then it is so late: a time from the beginning, which is 1970-01-01, or an instant. The deadlines up to then have come, in
   * the order of their times.
   */
  readonly at: (time: Duration.Input | DateTime.Utc) => ProcessScenario<P>
  /** The same, and from then on this command is rejected with this error. Until then each command succeeds. */
  readonly rejecting: <C extends Command.Any>(command: C, error: Command.Error<C>) => ProcessScenario<P>
  /** Exactly these commands were sent in the last step, in this order; none is `[]`. */
  readonly then: (commands: ReadonlyArray<Sent<ProcessManager.Commands<P>>>) => Effect.Effect<void>
  /** The process is in this state. Where there are several, `key` says which. */
  readonly thenState: (state: P["initial"], key?: string) => Effect.Effect<void>
  /** Exactly these deadlines are set: their events, and when they are due. Where there are several processes, `key` says which. */
  readonly thenDeadlines: (
    deadlines: ReadonlyArray<readonly [event: P["deadlines"][number]["Type"], due: Duration.Input | DateTime.Utc]>,
    key?: string
  ) => Effect.Effect<void>
}

/**
 * A command that must have been sent, for `then` of a {@link process} scenario.
 *
 * @category constructors
 * @since 0.2.0
 */
export const command = <C extends Command.Any>(command: C, payload: Command.PayloadInput<C>): Sent<C["_tag"]> => ({
  command: command._tag,
  payload: payloadOf(command, payload)
})

/**
 * A scenario of a process manager that has seen nothing yet. Nothing is run beside its own pure functions: no store, no handler, no clock.
 *
 * Events and deadlines are encoded and decoded by their definitions, as in production.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Command, Event, ProcessManager } from "eventfold"
 * import { Scenario } from "eventfold/testing"
 *
 * const Placed = Event.make("Placed", { order: Schema.String })
 * const Paid = Event.make("Paid", { order: Schema.String })
 * const PaymentDue = Event.make("PaymentDue")
 * const Cancel = Command.make("Cancel", { payload: { order: Schema.String } })
 *
 * const Payment = ProcessManager.make("Payment", {
 *   events: [Placed, Paid],
 *   correlate: { Placed: ({ order }) => order, Paid: ({ order }) => order },
 *   deadlines: [PaymentDue],
 *   initial: "unpaid",
 *   evolve: { Placed: () => "unpaid", Paid: () => "paid", PaymentDue: (state) => state },
 *   react: {
 *     Placed: () => [ProcessManager.setDeadline(PaymentDue.make({}), "7 days")],
 *     Paid: () => [ProcessManager.cancelDeadline(PaymentDue)],
 *     PaymentDue: (_, __, { key: order }) => [ProcessManager.send(Cancel, { order })]
 *   }
 * })
 *
 * const placed = Scenario.process(Payment).given([Placed.make({ order: "1" })])
 *
 * // With a runner: it.effect("…", () => placed.at("7 days").then([…]))
 * await Effect.runPromise(placed.at("6 days").then([]))
 * await Effect.runPromise(placed.at("7 days").then([Scenario.command(Cancel, { order: "1" })]))
 * await Effect.runPromise(placed.given([Paid.make({ order: "1" })]).at("8 days").then([]))
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const process = <P extends ProcessManager.Any>(process: P): ProcessScenario<P> => processScenario(process, [])

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

interface Tagged {
  readonly _tag: string
}

type Step =
  | { readonly _tag: "Given"; readonly events: ReadonlyArray<Tagged> }
  | { readonly _tag: "At"; readonly time: Duration.Input | DateTime.Utc }
  | { readonly _tag: "Rejecting"; readonly command: string; readonly error: unknown }

const processScenario = <P extends ProcessManager.Any>(process: P, steps: ReadonlyArray<Step>): ProcessScenario<P> => {
  const and = (step: Step) => processScenario(process, [...steps, step])
  const told = Effect.sync(() => {
    const story = new Story(process)
    for (const step of steps) story.tell(step)
    return story
  })
  return {
    given: (events) => and({ _tag: "Given", events }),
    at: (time) => and({ _tag: "At", time }),
    rejecting: (command, error) => and({ _tag: "Rejecting", command: command._tag, error }),
    // oxlint-disable-next-line unicorn/no-thenable
    then: (commands) => Effect.map(told, ({ sent }) => same("The process", "unexpected commands", sent, commands)),
    thenState: (state, key) =>
      Effect.map(told, (story) => same("The process", "an unexpected state", story.instance(key).state, state)),
    thenDeadlines: (deadlines, key) =>
      Effect.map(told, (story) => {
        const set = Array.from(story.instance(key).deadlines.values(), ({ due, event }) => [event, DateTime.makeUnsafe(due)])
        const expected = deadlines.map(([event, due]) => [event, DateTime.makeUnsafe(millisOf(due))])
        same("The process", "unexpected deadlines", set, expected)
      })
  }
}

const millisOf = (time: Duration.Input | DateTime.Utc): number =>
  DateTime.isDateTime(time) ? DateTime.toEpochMillis(time) : Duration.toMillis(Duration.fromInputUnsafe(time))

const payloadOf = (command: Command.Any, payload: unknown): unknown =>
  (command.payloadSchema as Schema.Codec<unknown, unknown>).make(payload)

interface Instance {
  readonly key: string
  state: unknown
  /** By type. */
  readonly deadlines: Map<string, { readonly event: Tagged; readonly due: number }>
}

/** More reactions than any scenario has: a process that sets deadlines which are due at once would react for ever. */
const most = 10_000

/** What has happened so far. */
class Story {
  /** What was sent in the step in hand. */
  sent: Array<Sent> = []
  private now = 0
  private position = 0
  private readonly instances = new Map<string, Instance>()
  private readonly rejections = new Map<string, unknown>()
  private readonly process: ProcessManager.Any

  constructor(process: ProcessManager.Any) {
    this.process = process
  }

  tell(step: Step): void {
    if (step._tag === "Rejecting") return void this.rejections.set(step.command, step.error)
    this.sent = []
    if (step._tag === "At") return this.passTo(millisOf(step.time))
    const correlate = this.process.correlate as Record<string, (event: Tagged) => string | undefined>
    for (const given of step.events) {
      const event = this.asStored(this.process.events, given)
      const key = correlate[event._tag]?.(event)
      if (key !== undefined) this.react(this.instances.get(key) ?? this.begin(key), event)
      this.passTo(this.now)
    }
  }

  /** The instance of a key, or the only one. */
  instance(key: string | undefined): Instance {
    const keys = Array.from(this.instances.keys())
    const found = key === undefined && keys.length === 1 ? keys[0] : key
    const instance = found === undefined ? undefined : this.instances.get(found)
    if (instance !== undefined) return instance
    const asked = key === undefined ? "no key was given" : `there is none with the key ${JSON.stringify(key)}`
    throw new assert.AssertionError({ message: `The processes are ${JSON.stringify(keys)}, and ${asked}` })
  }

  private begin(key: string): Instance {
    const instance: Instance = { key, state: this.process.initial, deadlines: new Map() }
    this.instances.set(key, instance)
    return instance
  }

  /** Lets the deadlines come that are due by then, in the order of their times. */
  private passTo(time: number): void {
    if (time < this.now) {
      throw new assert.AssertionError({ message: `Time goes back: it is ${at(this.now)}, and was to be ${at(time)}` })
    }
    for (let next = this.next(time); next !== undefined; next = this.next(time)) {
      const [instance, { due, event }] = next
      instance.deadlines.delete(event._tag)
      this.now = Math.max(this.now, due)
      this.react(instance, event)
    }
    this.now = time
  }

  private next(time: number) {
    return Array.from(this.instances.values())
      .flatMap((instance) => Array.from(instance.deadlines.values(), (deadline) => [instance, deadline] as const))
      .filter(([, { due }]) => due <= time)
      .sort(([, a], [, b]) => a.due - b.due)[0]
  }

  private react(instance: Instance, event: Tagged): void {
    if (++this.position > most) {
      throw new assert.AssertionError({ message: `The process has reacted ${most} times, the last time to ${event._tag}` })
    }
    const { process } = this
    const react = process.react as Record<
      string,
      (state: unknown, event: Tagged, source: ProcessManager.Source) => ReadonlyArray<ProcessManager.Action>
    >
    const evolve = process.evolve as Record<string, (state: unknown, event: Tagged) => unknown>
    const recorded = this.recordedOf(instance, event)
    const actions = react[event._tag]?.(instance.state, event, { key: instance.key, recorded }) ?? []
    instance.state = evolve[event._tag]?.(instance.state, event)
    for (const action of actions) this.act(instance, action)
  }

  private act(instance: Instance, action: ProcessManager.Action): void {
    switch (action._tag) {
      case "SetDeadline": {
        const event = this.asStored(this.process.deadlines, action.event)
        const due = dueAt(this.process.name, event._tag, action.due, this.now)
        instance.deadlines.delete(event._tag)
        return void instance.deadlines.set(event._tag, { event, due })
      }
      case "CancelDeadline":
        return void instance.deadlines.delete(action.type)
      case "Send": {
        const { _tag: command } = action.command
        this.sent.push({ command, payload: payloadOf(action.command, action.payload) })
        if (!this.rejections.has(command)) return
        // `rejecting` takes an error of this command alone.
        for (const instead of action.onRejected(this.rejections.get(command) as never)) this.act(instance, instead)
      }
    }
  }

  /** The event as a store would give it back. */
  private asStored(definitions: ReadonlyArray<Event.Any>, event: Tagged): Tagged {
    const definition = definitions.find(({ type }) => type === event._tag)
    if (definition === undefined) {
      throw new TypeError(`the process manager "${this.process.name}" has no event "${event._tag}"`)
    }
    const { payload, schemaVersion = 1, type } = Result.getOrThrow(Event.encode(definition, event))
    const place = { stream: this.process.name, version: 1, position: this.position }
    return Result.getOrThrow(Event.decode(definition, { ...place, type, schemaVersion, payload })) as Tagged
  }

  private recordedOf({ key }: Instance, event: Tagged): RecordedEvent {
    const definition = [...this.process.events, ...this.process.deadlines].find(({ type }) => type === event._tag) as Event.Any
    const { payload, published = false, schemaVersion = 1, tags = [], type } = Result.getOrThrow(Event.encode(definition, event))
    return {
      id: `event-${this.position}`,
      stream: `${this.process.name}-${key}`,
      version: this.position,
      position: this.position,
      recordedAt: DateTime.makeUnsafe(this.now),
      metadata: {},
      type,
      schemaVersion,
      payload,
      published,
      tags
    }
  }
}

const at = (time: number) => DateTime.formatIso(DateTime.makeUnsafe(time))
