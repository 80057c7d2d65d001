/**
 * Deciders: an aggregate and its decisions as one value, `initial`, `evolve` and `decide`. All of it is pure.
 *
 * A decider **is** an aggregate, so whatever takes an aggregate takes it: `Repository`, `Scenario`, `Aggregate.fold`.
 *
 * @since 0.2.0
 */
import type * as Schema from "effect/Schema"
import * as Aggregate from "./Aggregate.ts"
import { annotatable } from "./annotations.ts"
import type * as Command from "./Command.ts"
import type { Decided } from "./decided.ts"
import type * as Event from "./Event.ts"

/**
 * One decision per command; none may be missing.
 *
 * @category models
 * @since 0.2.0
 */
export type Decide<Commands extends ReadonlyArray<Command.Any>, Events extends ReadonlyArray<Event.Any>, State> = {
  readonly [Tag in Commands[number]["_tag"]]: (
    command: Command.Payload<Extract<Commands[number], { readonly _tag: Tag }>>,
    state: State
  ) => Decided<Events[number]["Type"], Command.Error<Extract<Commands[number], { readonly _tag: Tag }>>, unknown>
}

/**
 * A decision, as the decider gives it: of a command and a state, or (what `Repository.execute` and `Scenario` take) of a command, for
 * any state.
 *
 * @category models
 * @since 0.2.0
 */
export interface Decides<in Payload, in State, out Outcome> {
  (command: Payload, state: State): Outcome
  (command: Payload): (state: State) => Outcome
}

/**
 * A decider.
 *
 * @category models
 * @since 0.2.0
 */
export interface Decider<
  Name extends string,
  Id extends Aggregate.IdSchema,
  Events extends ReadonlyArray<Event.Any>,
  State,
  Commands extends ReadonlyArray<Command.Any>,
  D extends Decide<Commands, Events, State>
> extends Aggregate.Aggregate<Name, Id, Events, State> {
  readonly commands: Commands
  /** The decisions, by the tag of their commands. */
  readonly decide: {
    readonly [Tag in Commands[number]["_tag"]]: Decides<
      Command.Payload<Extract<Commands[number], { readonly _tag: Tag }>>,
      State,
      ReturnType<D[Tag]>
    >
  }
}

/** What stands beside the decisions of the listed commands: the compiler's message ends with the sentence. */
type Unlisted<Decisions, Listed> = {
  readonly [Tag in Exclude<keyof Decisions, Listed>]: `there is no "${Tag & string}" among the commands that are listed`
}

/**
 * Defines a decider: what `Aggregate.make` takes, and a decision for each of its commands. A decision that is missing, one for a
 * command that is not listed, or an error that the command does not declare does not compile.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Command, Decider, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
 *
 * class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int })
 *
 * const payload = { account: Schema.NonEmptyString, amount: Schema.Int }
 * const Deposit = Command.make("Deposit", { payload })
 * const Withdraw = Command.make("Withdraw", { payload, error: Overdrawn })
 *
 * const Account = Decider.make("Account", {
 *   events: [Deposited, Withdrawn],
 *   initial: { balance: 0 },
 *   evolve: {
 *     Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
 *     Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount })
 *   },
 *   commands: [Deposit, Withdraw],
 *   decide: {
 *     Deposit: ({ amount }) => Deposited.make({ amount }),
 *     Withdraw: ({ amount }, { balance }) =>
 *       amount > balance ? new Overdrawn({ missing: amount - balance }) : Withdrawn.make({ amount })
 *   }
 * })
 *
 * Account.decide.Deposit({ account: "ada", amount: 5 }, Account.initial) // => { _tag: "Deposited", amount: 5 }
 *
 * const Handlers = Layer.mergeAll(
 *   MessageBus.handle(Deposit, (command) =>
 *     Effect.asVoid(Repository.execute(Account, command.account, Account.decide.Deposit(command)))
 *   ),
 *   MessageBus.handle(Withdraw, (command) =>
 *     Effect.asVoid(Repository.execute(Account, command.account, Account.decide.Withdraw(command)))
 *   )
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* MessageBus.execute(Deposit, { account: "ada", amount: 5 })
 *   const refused = yield* Effect.flip(MessageBus.execute(Withdraw, { account: "ada", amount: 7 }))
 *   return [refused._tag, (yield* Repository.read(Account, "ada")).state]
 * })
 *
 * const Live = Handlers.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["Overdrawn", { balance: 5 }]
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <
  const Name extends string,
  const Events extends ReadonlyArray<Event.Any>,
  Initial,
  const Commands extends ReadonlyArray<Command.Any>,
  const D extends Decide<Commands, Events, Aggregate.StateOf<S, Initial>>,
  const S extends Aggregate.StateSchema,
  Id extends Aggregate.IdSchema = Schema.NonEmptyString
>(
  name: Name,
  options: Aggregate.Options<Events, Initial, Id, S> & {
    /** The definitions of the commands that it decides. */
    readonly commands: Commands
    /** One decision per command, by its tag. Pure, or an Effect of what it needs. */
    readonly decide: D & Unlisted<D, Commands[number]["_tag"]>
  }
): Decider<Name, Id, Events, Aggregate.StateOf<S, Initial>, Commands, D> & Aggregate.Stated<S> => {
  const { commands, decide } = options
  const seen = new Set<string>()
  for (const { _tag: tag } of commands) {
    if (seen.has(tag)) throw new RangeError(`Decider "${name}": the command "${tag}" is listed twice`)
    seen.add(tag)
  }
  const decisions = Object.entries(decide as Record<string, AnyDecision>)
  return annotatable<Decider<Name, Id, Events, Aggregate.StateOf<S, Initial>, Commands, D> & Aggregate.Stated<S>>({
    ...Aggregate.make<Name, Events, Initial, S, Id>(name, options),
    commands,
    // By the types of `D`.
    decide: Object.fromEntries(decisions.map(([tag, decision]) => [tag, curried(decision)])) as never
  })
}

type AnyDecision = (command: unknown, state: unknown) => unknown

const curried =
  (decision: AnyDecision) =>
  (...[command, ...state]: [command: unknown] | [command: unknown, state: unknown]): unknown =>
    // `undefined` may well be a state.
    state.length === 0 ? (state: unknown) => decision(command, state) : decision(command, state[0])
