/** What the tests of clusters share. */
import { Effect, Fiber, Schedule, type Scope, Stream } from "effect"
import type { Transport } from "eventfold"
import { layLine, message, over } from "../support/transports.ts"
import { eventually } from "../support/words.ts"

/** An address that leads to one server, and then to another, as that of a service does when it fails over. */
export interface Switch {
  /** The address, of the form of those that it leads to. */
  readonly url: string
  /** Breaks all connections; new ones go there. */
  readonly to: (target: string) => void
}

export const makeSwitch = (first: string): Effect.Effect<Switch, never, Scope.Scope> =>
  Effect.suspend(() => {
    let target = new URL(first)
    return Effect.map(
      scoped(() => layLine(() => target)),
      (line) => ({
        url: over(first, line),
        to: (next) => {
          target = new URL(next)
          line.cut()
        }
      })
    )
  })

/** A server of a test, which ends with the scope. */
export const scoped = <A extends { readonly dispose: () => Promise<void> }>(
  start: () => Promise<A>
): Effect.Effect<A, never, Scope.Scope> => Effect.acquireRelease(Effect.promise(start), ({ dispose }) => Effect.promise(dispose))

/** What is done until it succeeds. */
export const again = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, never, R> =>
  Effect.orDie(Effect.retry(effect, Schedule.spaced("100 millis")))

/** Messages that are published one after the other, and consumed meanwhile. */
export interface Traffic {
  /** What has come, in its order, repetitions included. */
  readonly received: ReadonlyArray<Transport.Delivery>
  /** Waits until so many more are confirmed. */
  readonly more: (count: number) => Effect.Effect<void>
  /** Publishes a few more and no others, and waits until all that was confirmed has come. Gives how many that are. */
  readonly end: Effect.Effect<number>
}

/** Publishes each message until it is confirmed, whatever happens. */
export const makeTraffic = Effect.fnUntraced(function* (
  { subscribe }: Pick<Transport.Transport["Service"], "subscribe">,
  publish: Transport.Transport["Service"]["publish"],
  options: {
    readonly concurrency?: number
    /** How many streams the messages are of. */
    readonly subjects?: number
    readonly ack?: (delivery: Transport.Delivery) => Effect.Effect<void, Transport.TransportError>
  } = {}
): Effect.fn.Return<Traffic, never, Scope.Scope> {
  const { ack = ({ ack }: Transport.Delivery) => ack, concurrency, subjects = 1 } = options
  const received: Array<Transport.Delivery> = []
  const positions = new Set<number | undefined>()
  yield* subscribe({ group: "g", ...(concurrency !== undefined && { concurrency }) }).pipe(
    Stream.runForEach((delivery) => {
      received.push(delivery)
      positions.add(delivery.message.position)
      return ack(delivery)
    }),
    again,
    Effect.forkScoped
  )
  let confirmed = 0
  let wanted = Infinity
  const publishing = yield* Effect.forkScoped(
    Effect.gen(function* () {
      for (let n = 1; n <= wanted; n++) {
        yield* again(publish([message(n, { subject: `Order-${n % subjects}` })]))
        confirmed = n
      }
    })
  )
  return {
    received,
    more: (count) =>
      Effect.suspend(() => {
        const goal = confirmed + count
        return eventually(
          "more are confirmed",
          Effect.sync(() => confirmed >= goal)
        )
      }),
    end: Effect.gen(function* () {
      wanted = confirmed + 50
      yield* Fiber.join(publishing)
      const all = Array.from({ length: confirmed }, (_, index) => index + 1)
      yield* eventually(
        "all that was confirmed has come",
        Effect.sync(() => positions.size >= confirmed && all.every((n) => positions.has(n)))
      )
      return confirmed
    })
  }
})
