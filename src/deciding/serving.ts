import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Rpc from "effect/rpc/Rpc"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Any, CommandFailure, CommandFailures, type Error, type PayloadInput, type Success } from "../definitions/Command.ts"
import { CurrentMetadata } from "../definitions/metadata.ts"
import type { Metadata } from "../definitions/stored.ts"
import { type Episodes, makeEpisodes } from "../internal/episodes.ts"
import { NewId } from "../internal/ids.ts"
import { reasonOf, tellFailure } from "../sql/reasons.ts"
import { type Handler, MessageBus } from "./bus.ts"
import { execute } from "./executing.ts"
import { CommitError } from "./transaction.ts"
import { retryConflicts, UnitOfWork } from "./UnitOfWork.ts"

const isCommitError = Schema.is(CommitError)

/** What the service's log is told, and the caller is not. */
const logged = (kind: "unknown" | "fault", cause: Cause.Cause<unknown>): Effect.Effect<never, CommandFailure> =>
  Effect.flatMap(NewId.make, ({ value: incident }) =>
    Effect.andThen(
      Effect.logError(`eventfold: a command failed, and its caller was told of incident ${incident}`, cause),
      Effect.fail(new CommandFailure({ kind, incident }))
    )
  )

/** Of the store of each bus, or of units of work without one: whether it is available. Kept beside them, which know nothing of it. */
const outages = new WeakMap<object, Episodes>()

/** What runs the commands of a fiber. */
const runnerIn = (context: Context.Context<never>): object | undefined =>
  Context.getOrUndefined(context, MessageBus) ?? Context.getOrUndefined(context, UnitOfWork)

/** Says that a store is not available: once, and not for each of the many commands that fail by then. */
const tellOutage = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.contextWith((context) => {
    const what = "eventfold: commands fail, because the store is not available"
    const runner = runnerIn(context)
    if (runner === undefined) return tellFailure(Effect.logWarning, what, cause)
    const episodes = outages.get(runner) ?? makeEpisodes("the execution of commands")
    outages.set(runner, episodes)
    return episodes.failed(episodes, { what, why: reasonOf(cause), cause })
  })

/** Says so where it is available again. */
const tellRecovery: Effect.Effect<void> = Effect.contextWith((context) => {
  const runner = runnerIn(context)
  const episodes = runner === undefined ? undefined : outages.get(runner)
  return episodes?.isFailing(episodes) === true ? episodes.recovered(episodes) : Effect.void
})

const toFailure = (error: CommitError): Effect.Effect<never, CommandFailure> => {
  switch (error._tag) {
    case "CommandDecodeError":
      return Effect.fail(new CommandFailure({ kind: "invalid", path: error.path, problem: error.problem }))
    case "CommandIdReusedError":
      return Effect.fail(new CommandFailure({ kind: "invalid", path: "id", problem: "has been used with another payload" }))
    case "AggregateIdError":
      return Effect.fail(new CommandFailure({ kind: "invalid", problem: `an id of ${error.aggregate}: ${error.problem}` }))
    case "TagError":
      return Effect.fail(new CommandFailure({ kind: "invalid", problem: `a value of ${error.tag}: ${error.problem}` }))
    case "CommandElsewhereError":
      switch (error.reason) {
        case "full":
          return Effect.fail(new CommandFailure({ kind: "unavailable" }))
        case "unanswered":
          return logged("unknown", Cause.fail(error))
      }
      break
    case "OptimisticLockError":
    case "AppendConditionError":
      return Effect.fail(new CommandFailure({ kind: "conflict" }))
    case "EventStoreError":
      switch (error.reason._tag) {
        case "TransactionConflict":
          return Effect.fail(new CommandFailure({ kind: "conflict" }))
        case "StoreUnavailable":
          return Effect.andThen(tellOutage(Cause.fail(error)), Effect.fail(new CommandFailure({ kind: "unavailable" })))
        case "OutcomeUnknown":
          return logged("unknown", Cause.fail(error))
      }
  }
  return logged("fault", Cause.fail(error))
}

/**
 * How often, and when, what lost a race is tried again before the caller hears of it.
 *
 * @category models
 * @since 0.2.0
 */
export interface PublicErrorsOptions {
  /** How often it is tried again when somebody else was first. Default: 5 times. */
  readonly times?: number | undefined
  /** When it is tried again. Default: at once. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * {@link publicErrors}, with how often conflicts are tried again.
 *
 * @category combinators
 * @since 0.2.0
 */
export const publicErrorsWith: {
  (
    options: PublicErrorsOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, Exclude<E, CommitError> | CommandFailure, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: PublicErrorsOptions
  ): Effect.Effect<A, Exclude<E, CommitError> | CommandFailure, R>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    { schedule, times = 5 }: PublicErrorsOptions
  ): Effect.Effect<A, Exclude<E, CommitError> | CommandFailure, R> =>
    self.pipe(
      retryConflicts({ times, schedule }),
      Effect.tap(tellRecovery),
      Effect.catchCause((cause): Effect.Effect<never, Exclude<E, CommitError> | CommandFailure> => {
        const failure = cause.reasons.find(Cause.isFailReason)
        if (failure !== undefined && isCommitError(failure.error)) return toFailure(failure.error)
        // Nothing of a defect is for the caller: it may hold whatever a driver said.
        if (cause.reasons.some(Cause.isDieReason)) return logged("fault", cause)
        return Effect.failCause(cause as Cause.Cause<Exclude<E, CommitError>>)
      })
    )
)

/**
 * Makes one public error of all that a unit of work and a defect can come to, for those who call from elsewhere: `Command.CommandFailure`. The
 * command's own errors stay what they are. Conflicts are tried again first, five times. What the caller is not told is logged.
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
 * const Deposit = Command.make("Deposit", { payload: { account: Schema.String, amount: Schema.Int } })
 * const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
 *   Effect.asVoid(Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])))
 * )
 *
 * const program = MessageBus.execute(Deposit, { account: "ada", amount: 1.5 }).pipe(MessageBus.publicErrors, Effect.flip)
 *
 * const Live = DepositLive.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * const error = await Effect.runPromise(Effect.provide(program, Live))
 * const told = [error.kind, error.path, error.status]
 * told // => ["invalid", "amount", 400]
 * ```
 *
 * @category combinators
 * @since 0.2.0
 */
export const publicErrors: <A, E, R>(
  self: Effect.Effect<A, E, R>
) => Effect.Effect<A, Exclude<E, CommitError> | CommandFailure, R> = publicErrorsWith({})

/**
 * How commands that come from elsewhere are executed.
 *
 * @category models
 * @since 0.2.0
 */
export interface ServingOptions {
  /** The header whose value is the `id` of the execution. Default: `"idempotency-key"`. */
  readonly header?: string | undefined
  /**
   * Whose an id is: two callers may use the same, and none must get the other's answer. Default: `metadata.by`, of `UnitOfWork.CurrentMetadata`
   * as the middleware of authentication has set it.
   */
  readonly caller?: ((metadata: Metadata) => string | undefined) | undefined
}

const byOf = ({ by }: Metadata): string | undefined => (typeof by === "string" ? by : undefined)

/**
 * Executes a command that comes from elsewhere, with the headers that it came with: as {@link toRpcHandlers} does, for a protocol of one's own.
 *
 * @category serving
 * @since 0.2.0
 */
export const serve = <C extends Any>(
  command: C,
  payload: PayloadInput<C>,
  headers: Readonly<Record<string, string | undefined>>,
  { caller = byOf, header = "idempotency-key" }: ServingOptions = {}
): Effect.Effect<Success<C>, Exclude<Error<C>, CommitError> | CommandFailure, MessageBus | Handler<C["_tag"]>> =>
  Effect.flatMap(CurrentMetadata, (metadata) => {
    const key = headers[header.toLowerCase()]
    const who = caller(metadata)
    const id = key === undefined || who === undefined ? key : `${who.replaceAll("%", "%25").replaceAll("/", "%2F")}/${key}`
    return publicErrors(execute(command, payload, { id }))
  })

type MissesFailures<R extends Rpc.Any> = R extends Rpc.Any ? (CommandFailures extends Rpc.Middleware<R> ? never : R) : never
type HandlersOf<R extends Rpc.Any> = R extends Rpc.Any ? Handler<R["_tag"]> : never

/**
 * Handlers of all commands of an `RpcGroup` at once, which execute them on the bus, each in a unit of work of its own. A command without a
 * handler on the bus does not compile, nor does a group that lacks `Command.CommandFailures`.
 *
 * The header `idempotency-key` of a call is the `id` of its execution. The identity that a middleware of authentication puts into `UnitOfWork.CurrentMetadata` is in the
 * metadata of every event, and ids are that caller's own.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { RpcGroup, RpcTest } from "effect/rpc"
 * import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"
 *
 * const Greet = Command.make("Greet", { payload: { name: Schema.NonEmptyString }, success: Schema.String })
 * const Greetings = RpcGroup.make(Greet).middleware(Command.CommandFailures)
 *
 * const program = Effect.gen(function* () {
 *   const client = yield* RpcTest.makeClient(Greetings)
 *   return yield* client.Greet({ name: "Ada" })
 * })
 *
 * const Live = MessageBus.toRpcHandlers(Greetings).pipe(
 *   Layer.provide(MessageBus.handle(Greet, ({ name }) => Effect.succeed(`Hello, ${name}`))),
 *   Layer.provide(MessageBus.layer),
 *   Layer.provide(UnitOfWork.layer),
 *   Layer.provide(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => "Hello, Ada"
 * ```
 *
 * @category serving
 * @since 0.2.0
 */
export const toRpcHandlers = <R extends Rpc.Any>(
  group: RpcGroup.RpcGroup<R> &
    ([MissesFailures<R>] extends [never] ? unknown : "a group of commands: RpcGroup.make(…).middleware(Command.CommandFailures)"),
  options?: ServingOptions
): Layer.Layer<Rpc.ToHandler<R> | CommandFailures, never, MessageBus | HandlersOf<R>> => {
  const handlers = Object.fromEntries(
    Array.from(group.requests, ([tag, rpc]) => [
      tag,
      (payload: unknown, { headers }: { readonly headers: Readonly<Record<string, string | undefined>> }) =>
        serve(rpc as unknown as Any, payload as never, headers, options)
    ])
  )
  // Each command of the group has its handler, whose types are those of the command.
  const Handlers = group.toLayer(handlers as never) as unknown as Layer.Layer<Rpc.ToHandler<R>, never, MessageBus | HandlersOf<R>>
  return Layer.merge(
    Handlers,
    Layer.succeed(CommandFailures, (effect) => effect)
  )
}
