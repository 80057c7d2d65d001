import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type DocBlock, type DocRunner, makeDocRunner } from "./support/docs.ts"

/** What stands before each mistake, on one line. */
const given = `
import { Effect, Schema } from "effect"
import { Aggregate, Command, Consumer, Event, EventStore, MessageBus, ProcessManager, Projection, Repository, Subscription, Transport, UnitOfWork } from "eventfold"
const Opened = Event.make("Opened", { owner: Schema.String })
const Closed = Event.make("Closed")
class Denied extends Schema.TaggedError<Denied>()("Denied", { why: Schema.String }) {}
const Open = Command.make("Open", { payload: { owner: Schema.String }, error: Denied })
const Account = Aggregate.make("Account", { events: [Opened], initial: 0, evolve: { Opened: (count) => count + 1 } })
const nothing = () => Effect.void
const none = () => []
void [Aggregate, Closed, EventStore, MessageBus, Open, ProcessManager, Projection, Repository, Subscription, Transport, UnitOfWork, Account, nothing, none]
`
  .trim()
  .replaceAll("\n", "; ")

/** Mistakes, and the end of what the compiler says of them: there a person reads. */
const mistakes: ReadonlyArray<readonly [title: string, code: string, message: string]> = [
  [
    "a fold is missing",
    `Aggregate.make("A", { events: [Opened, Closed], initial: 0, evolve: { Opened: (count) => count } })`,
    `Property 'Closed' is missing in type`
  ],
  [
    "a fold for an event that is not listed",
    `Aggregate.make("A", { events: [Opened], initial: 0, evolve: { Opened: (n) => n, Closed: (n) => n } })`,
    `'Closed' does not exist in type 'Evolve<`
  ],
  [
    "a payload without a field",
    `MessageBus.execute(Open, {})`,
    `Property 'owner' is missing in type '{}' but required in type '{ readonly owner: string; }'.`
  ],
  [
    "no handler for a command",
    `void Effect.runPromise(Effect.provideService(MessageBus.execute(Open, { owner: "" }), MessageBus.MessageBus, {} as never))`,
    `Type 'Handler<"Open">' is not assignable to type 'never'.`
  ],
  [
    "no transaction",
    `void Effect.runPromise(Effect.provide(Repository.load(Account, "1"), EventStore.layerMemory))`,
    `Type 'Transaction' is not assignable to type 'never'.`
  ],
  [
    "no store",
    `void Effect.runPromise(Effect.provide(UnitOfWork.transact(Repository.load(Account, "1")), UnitOfWork.layer))`,
    `Type 'EventStore' is not assignable to type 'never'.`
  ],
  [
    "an error that is not handled",
    `export const all: Effect.Effect<void, never, never> = Effect.fail(new Denied({ why: "" }))`,
    `Type 'Denied' is not assignable to type 'never'.`
  ],
  [
    "a handler with an error that the command does not declare",
    `MessageBus.handle(Command.make("C"), () => Effect.fail(new Denied({ why: "" })))`,
    `Type 'Denied' is not assignable to type 'CommitError'`
  ],
  [
    "a subscription without a handler",
    `Subscription.layer({ name: "s", events: [Opened, Closed], handlers: { Opened: nothing } })`,
    `Property 'Closed' is missing in type`
  ],
  [
    "a subscription to an event that is not listed",
    `Subscription.layer({ name: "s", events: [Opened], handlers: { Opened: nothing, Closed: nothing } })`,
    String.raw`there is no \"Closed\" among the events that are listed`
  ],
  [
    "a projection without a handler",
    `Projection.make("p", { version: 1, events: [Opened, Closed], handlers: { Opened: nothing } })`,
    `Property 'Closed' is missing in type`
  ],
  [
    "a projection of an event that is not listed",
    `Projection.make("p", { version: 1, events: [Opened], handlers: { Opened: nothing, Closed: nothing } })`,
    String.raw`there is no \"Closed\" among the events that are listed`
  ],
  [
    "a consumer without a handler",
    `Consumer.layer([Opened, Closed], { Opened: nothing }, { group: "g" })`,
    `Property 'Closed' is missing in type`
  ],
  [
    "a consumer of an event that is not listed",
    `Consumer.layer([Opened], { Opened: nothing, Closed: nothing }, { group: "g" })`,
    String.raw`there is no \"Closed\" among the events that are listed`
  ],
  [
    "a process manager without a reaction",
    `ProcessManager.make("P", { events: [Opened, Closed], correlate: { Opened: () => "", Closed: () => "" }, initial: 0, evolve: { Opened: () => 1, Closed: () => 2 }, react: { Opened: none } })`,
    `Property 'Closed' is missing in type`
  ],
  [
    "a command of a process manager whose rejection is not dealt with",
    `ProcessManager.send(Open, { owner: "" })`,
    `Expected 3 arguments, but got 2.`
  ]
]

describe("what the compiler says, in its last two lines, of", () => {
  const blocks = mistakes.map(([title, code]): DocBlock => ({
    file: title,
    line: 0,
    code: `${given}\n${code}`,
    compileOnly: true
  }))
  let runner: DocRunner

  beforeAll(() => {
    runner = makeDocRunner(blocks)
  }, 60_000)
  afterAll(() => runner.dispose())

  it.each(mistakes.map(([title, , message], index) => [title, message, index] as const))("%s", (_, message, index) => {
    const [error = "", ...others] = runner.compileErrors(blocks[index] as DocBlock)
    expect(others).toEqual([])
    expect(error.split("\n").slice(-2).join("\n")).toContain(message)
  })
})
