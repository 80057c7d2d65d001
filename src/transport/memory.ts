import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Message } from "./message.ts"
import { type Delivery, Transport } from "./service.ts"

/**
 * What has been published through {@link layerMemory}, for tests.
 *
 * @category services
 * @since 0.1.0
 */
export class Published extends Context.Service<Published, { readonly messages: Effect.Effect<ReadonlyArray<Message>> }>()(
  "eventfold/Transport/Published"
) {}

/**
 * What has been published through {@link layerMemory} so far, in order.
 *
 * @category accessors
 * @since 0.1.0
 */
export const published: Effect.Effect<ReadonlyArray<Message>, never, Published> = Published.use(({ messages }) => messages)

/** A message that waits in a group. */
interface Waiting {
  /** Its place in the order of publishing. */
  readonly index: number
  /** How often it has been delivered. */
  readonly attempts: number
}

interface Group {
  /** In the order of publishing. */
  readonly waiting: Array<Waiting>
  /** Members that would take a message, longest waiting first. */
  readonly idle: Set<() => void>
}

/**
 * A broker in memory, for tests and for programs of one process: consumer groups, acknowledgement, redelivery, de-duplication by
 * id. Everything published is kept until the Layer closes, and {@link published} reads it. A group begins at the first message.
 *
 * ```ts
 * import { DateTime, Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const first = Transport.subscribe({ group: "mail" }).pipe(Stream.take(1))
 *   yield* Stream.runForEach(first, ({ nack }) => nack())
 *   return yield* Stream.runCollect(Stream.map(first, ({ attempt, message }) => [message.type, attempt]))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Transport.layerMemory)) // => [["OrderPlaced", 2]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Transport | Published> = Layer.effectContext(
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const messages: Array<Message> = []
    const ids = new Set<string>()
    const groups = new Map<string, Group>()

    const groupOf = (name: string): Group => {
      let group = groups.get(name)
      if (group === undefined) {
        group = { waiting: messages.map((_, index) => ({ index, attempts: 0 })), idle: new Set() }
        groups.set(name, group)
      }
      return group
    }

    const wake = (group: Group) => {
      for (const resume of group.idle) resume()
    }

    /** Puts a message back in its place. */
    const giveBack = (group: Group, { attempts, index }: Waiting) => {
      const place = group.waiting.findIndex((other) => other.index > index)
      group.waiting.splice(place === -1 ? group.waiting.length : place, 0, { index, attempts })
      wake(group)
    }

    const publish: Transport["Service"]["publish"] = (batch) =>
      Effect.sync(() => {
        for (const message of batch) {
          if (ids.has(message.id)) continue
          ids.add(message.id)
          const index = messages.push(message) - 1
          for (const group of groups.values()) group.waiting.push({ index, attempts: 0 })
        }
        for (const group of groups.values()) wake(group)
      })

    const subscribe: Transport["Service"]["subscribe"] = ({ concurrency = 1, group: name, types }) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const group = groupOf(name)
          /** What this member has been given and has not settled. */
          const unsettled = new Set<Waiting>()
          let resume: (() => void) | undefined

          const take = (): Delivery | undefined => {
            if (unsettled.size >= concurrency) return undefined
            const place = group.waiting.findIndex(
              ({ index }) => types === undefined || types.includes((messages[index] as Message).type)
            )
            if (place === -1) return undefined
            const [waiting] = group.waiting.splice(place, 1) as [Waiting]
            const given = { index: waiting.index, attempts: waiting.attempts + 1 }
            unsettled.add(given)
            /** Settles it once; a second time, or after the stream has ended, does nothing. */
            const settle = (then: () => void) =>
              Effect.sync(() => {
                if (!unsettled.delete(given)) return
                then()
                resume?.()
              })
            return {
              message: messages[given.index] as Message,
              attempt: given.attempts,
              ack: settle(() => {}),
              nack: (options) =>
                options?.delay === undefined
                  ? settle(() => giveBack(group, given))
                  : Effect.suspend(() => {
                      if (!unsettled.delete(given)) return Effect.void
                      resume?.()
                      const later = Effect.andThen(
                        Effect.sleep(options.delay as Duration.Input),
                        Effect.sync(() => giveBack(group, given))
                      )
                      return Effect.asVoid(Effect.forkIn(later, scope))
                    })
            }
          }

          const next: Effect.Effect<Delivery> = Effect.callback((done) => {
            resume = () => {
              const delivery = take()
              if (delivery === undefined) return
              stop()
              done(Effect.succeed(delivery))
            }
            const stop = () => {
              group.idle.delete(resume as () => void)
              resume = undefined
            }
            group.idle.add(resume)
            resume()
            return Effect.sync(() => {
              if (resume !== undefined) stop()
            })
          })

          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              if (resume !== undefined) group.idle.delete(resume)
              const left = Array.from(unsettled)
              unsettled.clear()
              for (const given of left) giveBack(group, given)
            })
          )
          return Stream.fromEffectRepeat(next)
        })
      )

    return Context.make(Transport, { publish, subscribe }).pipe(
      Context.add(Published, { messages: Effect.sync(() => messages.slice()) })
    )
  })
)

/**
 * A transport that takes every message and forgets it, and never delivers one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<Transport> = Layer.succeed(Transport, {
  publish: () => Effect.void,
  subscribe: () => Stream.never
})
