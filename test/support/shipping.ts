/** The domain of the tests of process managers: parcels that are reminded of, and returned when nobody collects them. */
import { type Duration, Effect, Layer, Schema } from "effect"
import { Aggregate, Command, Event, MessageBus, ProcessManager, Repository } from "eventfold"

export const Arrived = Event.make("Arrived", { parcel: Schema.String })
export const Collected = Event.make("Collected", { parcel: Schema.String })
export const Reminded = Event.make("Reminded", { parcel: Schema.String, times: Schema.Int })
export const Returned = Event.make("Returned", { parcel: Schema.String })

export const Parcel = Aggregate.make("Parcel", {
  events: [Arrived, Collected, Reminded, Returned],
  initial: { collected: false },
  evolve: {
    Arrived: (state) => state,
    Collected: () => ({ collected: true }),
    Reminded: (state) => state,
    Returned: (state) => state
  }
})

export class AlreadyCollected extends Schema.TaggedError<AlreadyCollected>()("AlreadyCollected", { parcel: Schema.String }) {}

export const Remind = Command.make("Remind", { payload: { parcel: Schema.String, times: Schema.Int } })
export const Return = Command.make("Return", { payload: { parcel: Schema.String }, error: AlreadyCollected })

const RemindLive = MessageBus.handle(Remind, ({ parcel, times }) =>
  Effect.asVoid(Repository.execute(Parcel, parcel, () => Effect.succeed([Reminded.make({ parcel, times })])))
)

/** Stages the return before it looks whether the parcel has been collected: what is rejected must leave no trace. */
export const ReturnLive = MessageBus.handle(
  Return,
  Effect.fnUntraced(function* ({ parcel }) {
    const { state } = yield* Repository.execute(Parcel, parcel, () => Effect.succeed([Returned.make({ parcel })]))
    if (state.collected) return yield* new AlreadyCollected({ parcel })
  })
)

export const CollectionDue = Event.make("CollectionDue", { reminders: Schema.Int }, { tags: () => ["due"] })

/** Reminds at once and once more when nobody came; then returns the parcel. */
export const collection = (patience: Duration.Input) =>
  ProcessManager.make("Collection", {
    events: [Arrived, Collected],
    correlate: {
      Arrived: ({ parcel }) => (parcel === "anonymous" ? undefined : parcel),
      Collected: ({ parcel }) => parcel
    },
    deadlines: [CollectionDue],
    initial: { arrived: 0, collected: false, reminders: 0 },
    evolve: {
      Arrived: (state) => ({ ...state, arrived: state.arrived + 1 }),
      Collected: (state) => ({ ...state, collected: true }),
      CollectionDue: (state, { reminders }) => ({ ...state, reminders: reminders + 1 })
    },
    react: {
      Arrived: (_, { parcel }) => [
        ProcessManager.send(Remind, { parcel, times: 1 }),
        ProcessManager.setDeadline(CollectionDue.make({ reminders: 1 }), patience)
      ],
      Collected: () => [ProcessManager.cancelDeadline(CollectionDue)],
      CollectionDue: (_, { reminders }, { key: parcel }) =>
        reminders < 2
          ? [
              ProcessManager.send(Remind, { parcel, times: reminders + 1 }),
              ProcessManager.setDeadline(CollectionDue.make({ reminders: reminders + 1 }), patience)
            ]
          : [ProcessManager.send(Return, { parcel }, () => [])]
    }
  })

export const Collection = collection("1 day")

export const Handlers = Layer.merge(RemindLive, ReturnLive)

export const arrived = (parcel: string) => Repository.append(Parcel, parcel, [Arrived.make({ parcel })])
export const collected = (parcel: string) => Repository.append(Parcel, parcel, [Collected.make({ parcel })])
