import { Effect, Layer, Stream } from "effect"
import { Transport } from "eventfold"

type Messages = Parameters<Transport.Transport["Service"]["publish"]>[0]

/** What a broker does with messages: `take` keeps them. */
export type Behaviour = (
  messages: Messages,
  take: (messages: ReadonlyArray<Transport.Message>) => Effect.Effect<void>
) => Effect.Effect<void, Transport.TransportError>

/** A broker that does as it is told, and writes down what it has got. */
export interface Broker {
  readonly layer: Layer.Layer<Transport.Transport>
  /** The messages it has taken, repetitions included, in the order of their coming. */
  readonly taken: ReadonlyArray<Transport.Message>
  /** The ids of each call of `publish`, whatever became of it. */
  readonly calls: ReadonlyArray<ReadonlyArray<string>>
  /** What to do with the next calls of `publish`, one after the other; those after them are taken. */
  readonly next: (...behaviours: ReadonlyArray<Behaviour>) => void
}

export const makeBroker = (): Broker => {
  const taken: Array<Transport.Message> = []
  const calls: Array<ReadonlyArray<string>> = []
  const behaviours: Array<Behaviour> = []
  return {
    taken,
    calls,
    next: (...next) => void behaviours.push(...next),
    layer: Layer.succeed(Transport.Transport, {
      subscribe: () => Stream.never,
      forget: () => Effect.succeed(false),
      publish: (messages) =>
        Effect.suspend(() => {
          calls.push(messages.map(({ id }) => id))
          return (behaviours.shift() ?? takes)(messages, (messages) => Effect.sync(() => void taken.push(...messages)))
        })
    })
  }
}

export const unavailable = new Transport.TransportError({
  reason: new Transport.TransportUnavailable({ operation: "publish", detail: "nobody answers" })
})

export const takes: Behaviour = (messages, take) => take(messages)

export const fails: Behaviour = () => Effect.fail(unavailable)

/** Takes the first half, and fails. */
export const takesHalf: Behaviour = (messages, take) =>
  Effect.andThen(take(messages.slice(0, Math.ceil(messages.length / 2))), Effect.fail(unavailable))

/** Takes everything, and its answer is lost. */
export const losesAnswer: Behaviour = (messages, take) => Effect.andThen(take(messages), Effect.fail(unavailable))

/** Never answers. */
export const hangs: Behaviour = () => Effect.never

export const refuses: Behaviour = ([message]) =>
  Effect.fail(
    new Transport.TransportError({
      reason: new Transport.MessageRefused({ operation: "publish", id: message.id, detail: "too large" })
    })
  )
