import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PrimaryKey from "effect/PrimaryKey"
import * as Result from "effect/Result"
import type * as Command from "../definitions/Command.ts"
import { CommandElsewhereError } from "../definitions/Command.ts"
import { CurrentMetadata } from "../definitions/metadata.ts"
import type { Metadata } from "../definitions/stored.ts"
import { type Call, CurrentMessage, type Handler, handlerKey, MessageBus, type Reply } from "./bus.ts"
import { commandCodec } from "./commandCodec.ts"
import { message } from "./dispatching.ts"
import { noteCommit } from "./levels.ts"
import { once } from "./once.ts"
import { type CommitError, Transaction } from "./transaction.ts"

/** Sends a command to where it is handled. */
const elsewhere = Effect.fnUntraced(function* <C extends Command.Any>(
  command: C,
  send: (call: Call<unknown>) => Effect.Effect<Reply, CommitError>,
  {
    correlationId,
    id,
    metadata,
    payload
  }: Pick<Call<unknown>, "payload" | "id"> & {
    readonly correlationId?: string | undefined
    readonly metadata?: Metadata | undefined
  }
): Effect.fn.Return<Command.Success<C>, Command.Error<C> | CommitError> {
  const refuse = (reason: CommandElsewhereError["reason"], detail: string) =>
    new CommandElsewhereError({ command: command._tag, reason, detail })
  if (Option.isSome(yield* Effect.serviceOption(Transaction))) {
    return yield* refuse(
      "inside",
      "it cannot be part of the unit of work that it was executed in, as that of a handler, a listener or a process manager. Execute it outside: before it, or behind the log in the handler of a subscription, under the id of the event"
    )
  }
  const codec = commandCodec(command)
  const encoded = yield* Effect.fromResult(codec.encode(payload))
  const current = yield* CurrentMetadata
  const reply = yield* send({
    payload,
    encoded,
    id,
    correlationId: correlationId ?? (yield* CurrentMessage)?.correlationId ?? current.correlationId,
    metadata: { ...current, ...metadata }
  })
  yield* noteCommit(reply.position)
  const decoded = codec[reply.outcome].decode(reply.value)
  if (Result.isFailure(decoded)) {
    return yield* refuse("unanswered", `what came back does not fit its ${reply.outcome} schema: ${String(decoded.failure)}`)
  }
  // What came back is what a handler of this command gave.
  return yield* reply.outcome === "success"
    ? Effect.succeed(decoded.success as Command.Success<C>)
    : Effect.fail(decoded.success as Command.Error<C>)
})

/**
 * Executes a command in a unit of work, and gives its handler's result once everything has been committed.
 *
 * What the handler gives must fit the success schema of the command: otherwise that is a defect, and nothing is written.
 *
 * Inside a unit of work it joins it: the handler runs at once, and the listeners of its events when their turn comes.
 *
 * **Repetitions.** With an `id` (or the command's `primaryKey`) the command is executed once under it: a repetition gives what the first
 * execution gave, or fails with the command's own error that it failed with, and runs nothing. The answer commits with the events. An error
 * of the command's own has rolled its unit of work back, and is kept by a commit of its own before the caller hears of it. Errors of the unit of
 * work (`CommitError`), defects and interruptions are not kept: the repetition executes. Of several at once one commits, and all get
 * its answer; in one process the handler runs once. The same id with another payload is a `CommandIdReusedError`. Inside a unit of work the
 * answer is part of it, whatever it was. Where and how long answers are kept: see `Answers`.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited],
 *   initial: 0,
 *   evolve: { Deposited: (balance, { amount }) => balance + amount }
 * })
 * const Deposit = Command.make("Deposit", {
 *   payload: { account: Schema.NonEmptyString, amount: Schema.Int },
 *   success: Schema.Int
 * })
 *
 * const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
 *   Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])).pipe(Effect.map(({ state }) => state))
 * )
 *
 * const program = MessageBus.execute(Deposit, { account: "ada", amount: 5 })
 *
 * const Live = DepositLive.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => 5
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const execute = <C extends Command.Any>(
  command: C,
  payload: Command.PayloadInput<C>,
  options?: {
    /** Names this execution among those of the command, as an idempotency key does. Default: the command's `primaryKey`, else none. */
    readonly id?: string | undefined
    /** Names the conversation. Default: that of the message being handled or of `UnitOfWork.CurrentMetadata`, else a new id. */
    readonly correlationId?: string | undefined
    /** Stored with the command and with every event that follows from it, beside `UnitOfWork.CurrentMetadata`. Default: none. */
    readonly metadata?: Metadata | undefined
  }
): Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, MessageBus | Handler<C["_tag"]>> =>
  Effect.withFiber((fiber) => {
    const context = fiber.context as Context.Context<MessageBus | Handler<C["_tag"]>>
    const handler = Context.get(context, handlerKey<C["_tag"]>(command._tag))
    const { record: kept } = Context.get(context, MessageBus)
    const codec = commandCodec(command)
    return Effect.flatMap(codec.make(payload), (value) => {
      const id = options?.id ?? (PrimaryKey.isPrimaryKey(value) ? PrimaryKey.value(value) : undefined)
      if (handler._tag === "Elsewhere") return elsewhere(command, handler.send, { ...options, id, payload: value })
      const isWhole = kept === "all" && !codec.hasSecret
      const encoded = isWhole || id !== undefined ? codec.encode(value) : Result.succeed(null)
      if (Result.isFailure(encoded)) return Effect.fail(encoded.failure)
      const isKept = kept === "all" || kept === "names"
      const record = isKept ? { type: command._tag, payload: isWhole ? encoded.success : null } : undefined
      const run = (last: (value: Command.Success<C>) => Effect.Effect<void, CommitError, Transaction>) =>
        message(
          { _tag: "Command", type: command._tag, options, record },
          // What the handler of this command fails with is typed by `handle`.
          handler.run(value) as Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, Transaction>,
          last
        )
      // What does not fit could be told nobody, so it is not to be committed.
      return id === undefined
        ? run((answer) => Effect.asVoid(codec.answer(answer)))
        : once({ command, id, payload: encoded.success }, run)
    })
  })
