import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type DocBlock, type DocRunner, makeDocRunner } from "./support/docs.ts"

/** What stands before each mistake, on one line. */
const given = `
import { Effect, Layer, Schema } from "effect"
import { HttpApi } from "effect/http-api"
import { RpcGroup } from "effect/rpc"
import { SqlClient } from "effect/sql"
import { Aggregate, Checkpoints, Command, Consumer, Decision, Event, EventStore, MessageBus, ProcessManager, Projection, Repository, Subscription, Tag, Transport, UnitOfWork } from "eventfold"
import { CommandApi, CommandServer } from "eventfold/http"
const Opened = Event.make("Opened", { owner: Schema.String })
const Closed = Event.make("Closed")
const Left = Event.make("Left", {}, { published: true })
const Gone = Event.make("Gone", {}, { published: true })
class Denied extends Schema.TaggedError<Denied>()("Denied", { why: Schema.String }) {}
const Open = Command.make("Open", { payload: { owner: Schema.String }, error: Denied })
const Account = Aggregate.make("Account", { events: [Opened], initial: 0, evolve: { Opened: (count) => count + 1 } })
const owner = Tag.make("owner")
const Owned = Event.make("Owned", { owner: Schema.String }, { tags: (event) => [owner(event.owner)] })
const Owns = Decision.make("Owns", { tags: { owner }, events: [Owned], initial: 0, evolve: { Owned: (count) => count + 1 } })
const nothing = () => Effect.void
const none = () => []
void [Aggregate, Owns, Checkpoints, CommandApi, CommandServer, HttpApi, Closed, Consumer, Gone, Left, Layer, RpcGroup, SqlClient, EventStore, MessageBus, Open, ProcessManager, Projection, Repository, Subscription, Transport, UnitOfWork, Account, nothing, none]
`
  .trim()
  .replaceAll("\n", "; ")

/** A handler that uses a database, and a wiring whose events do not commit with it. */
const sqlHandler =
  "const sql = Effect.orDie(SqlClient.SqlClient.use((sql) => sql`select 1`)); const WithSql = MessageBus.handle(Open, () => Effect.asVoid(sql)); declare const Sql: Layer.Layer<SqlClient.SqlClient>; const InMemory = MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(Layer.merge(EventStore.layerMemory, Sql))); void [WithSql, InMemory, Checkpoints];"

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
    `'Closed' does not exist in type 'Folds<`
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
    "a forgotten unit of work",
    `void Effect.runPromise(Effect.provide(Repository.load(Account, "1"), EventStore.layerMemory))`,
    `Type 'Requires<"UnitOfWork.transact(…) around it, or a handler of MessageBus">' is not assignable to type 'never'.`
  ],
  [
    "a handler with SQL of its own, in units of work that are no SQL transactions",
    `${sqlHandler} void Effect.runPromise(Effect.provide(MessageBus.execute(Open, { owner: "" }), Layer.provideMerge(WithSql, InMemory)))`,
    `Type 'Requires<"UnitOfWork.layerSql, so that your own SQL commits with the events">' is not assignable to type 'never'.`
  ],
  [
    "a unit of work with SQL of its own that is no SQL transaction",
    `${sqlHandler} void Effect.runPromise(Effect.provide(UnitOfWork.transact(sql), InMemory))`,
    `Type 'Requires<"UnitOfWork.layerSql, so that your own SQL commits with the events">' is not assignable to type 'never'.`
  ],
  [
    "a listener with SQL of its own, in units of work that are no SQL transactions",
    `${sqlHandler} void Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(MessageBus.listen(Opened, () => sql), InMemory))))`,
    `Type 'Requires<"UnitOfWork.layerSql, so that your own SQL commits with the events">' is not assignable to type 'never'.`
  ],
  [
    "an inline view, in units of work that are no SQL transactions",
    `${sqlHandler} void Effect.runPromise(Effect.scoped(Effect.orDie(Layer.build(Layer.provide(Projection.inline(Projection.make("p", { version: 1, events: [Opened], handlers: { Opened: nothing } })), Layer.merge(Checkpoints.layerMemory, InMemory))))))`,
    `Type 'Requires<"UnitOfWork.layerSql, so that your own SQL commits with the events">' is not assignable to type 'never'.`
  ],
  [
    "a view that is written outside of its projection",
    `${sqlHandler} void Effect.runPromise(Effect.provide(Projection.table("t", { key: "id", fields: { id: Schema.String } }).upsert({ id: "" }), InMemory))`,
    `Type 'Requires<"a handler of Projection.make: it alone writes the table">' is not assignable to type 'never'.`
  ],
  [
    "a consumer of an event that is not published",
    `Consumer.layer([Opened], { Opened: nothing }, { group: "g" })`,
    `"an event to consume: Event.make(…, …, { published: true })"'`
  ],
  [
    "a command of a served group without a handler",
    `const Bus = MessageBus.layer.pipe(Layer.provide(UnitOfWork.layer), Layer.provide(EventStore.layerMemory)); void Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(MessageBus.toRpcHandlers(RpcGroup.make(Open).middleware(Command.CommandFailures)), Bus))))`,
    `Type 'Handler<"Open">' is not assignable to type 'never'.`
  ],
  [
    "a command of an HttpApi without a handler",
    `class Api extends HttpApi.make("a").add(CommandApi.group("g", [Open])) {} const Bus = MessageBus.layer.pipe(Layer.provide(UnitOfWork.layer), Layer.provide(EventStore.layerMemory)); void Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(CommandServer.layer(Api, "g", [Open]), Bus))))`,
    `Type 'Handler<"Open">' is not assignable to type 'never'.`
  ],
  [
    "a served group whose callers could not be told of failures",
    `MessageBus.toRpcHandlers(RpcGroup.make(Open))`,
    `"a group of commands: RpcGroup.make(…).middleware(Command.CommandFailures)"'`
  ],
  [
    "a decision outside of a unit of work",
    `void Effect.runPromise(Effect.provide(Decision.execute(Owns({ owner: "" }), "A-1", none), EventStore.layerMemory))`,
    `Type 'Requires<"UnitOfWork.transact(…) around it, or a handler of MessageBus">' is not assignable to type 'never'.`
  ],
  [
    "a decision's model that would never see one of its events",
    `Decision.make("A", { tags: { owner }, events: [Opened], initial: 0, evolve: { Opened: (count) => count } })`,
    String.raw`is not assignable to type '"Opened never bears the tag \"owner\", so this model would never see it"'.`
  ],
  [
    "a decision that comes to what it does not read",
    `Decision.execute(Owns({ owner: "" }), "A-1", () => Closed.make({}))`,
    String.raw`'"\"Closed\" is no event of this decision: let it read that, or name it by Decision.into(stream, …)"'.`
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
    `Consumer.layer([Left, Gone], { Left: nothing }, { group: "g" })`,
    `Property 'Gone' is missing in type`
  ],
  [
    "a consumer of an event that is not listed",
    `Consumer.layer([Left], { Left: nothing, Closed: nothing }, { group: "g" })`,
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
