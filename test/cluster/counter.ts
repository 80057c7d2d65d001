/** What the processes of the tests of clusters own and command. */
import { Effect, Schema } from "effect"
import { Aggregate, Command, Event, MessageBus, Repository } from "eventfold"

export const Added = Event.make("Added", { call: Schema.String })
export const Counter = Aggregate.make("Counter", { events: [Added], initial: 0, evolve: { Added: (total) => total + 1 } })
export const Add = Command.make("Add", { payload: { counter: Schema.String, call: Schema.String }, success: Schema.Int })

export const Handlers = MessageBus.handle(Add, ({ call, counter }) =>
  Effect.map(
    Repository.execute(Counter, counter, () => Added.make({ call })),
    ({ state }) => state
  )
)

/** The command as another version of the program has it. */
export const Newer = Command.make("Add", { payload: { counter: Schema.String, amount: Schema.Int }, success: Schema.Int })
export const NewerHandlers = MessageBus.handle(Newer, () => Effect.succeed(0))

/** A command of another program for the same aggregate. */
export const Reset = Command.make("Reset", { payload: { counter: Schema.String } })
export const ResetHandlers = MessageBus.handle(Reset, () => Effect.void)

export const options = { id: { Add: ({ counter }: { readonly counter: string }) => counter } }
