/** What stands beside the log: states, messages and dead letters, sealed as events are. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type DeadLetter, DeadLetters, DeadLettersError } from "../consuming/DeadLetters.ts"
import { placesIn } from "../definitions/personal.ts"
import { Masking } from "../internal/masking.ts"
import { type Snapshot, SnapshotError, Snapshots } from "../store/Snapshots.ts"
import {
  type CloudEvent,
  type Delivery,
  type Message,
  MessageRefused,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import type { Requirements } from "./layers.ts"
import { maskCause } from "./masking.ts"
import { type Item, makeSealing, type Refused, type Sealing } from "./sealing.ts"
import type { KeysError } from "./subjectKeys.ts"

const causeOf = (error: Refused | KeysError): Error =>
  error._tag === "Refused" ? new Error(`${error.path} ${error.problem}`) : error

/** Whether something has been forgotten that was there when the state was sealed. */
const isForgottenSince = (sealed: Schema.Json, opened: Schema.Json): boolean => {
  const places = placesIn(opened)
  return placesIn(sealed).some(({ envelope }, nth) => envelope._tag === "Sealed" && places[nth]?.envelope._tag === "Forgotten")
}

/**
 * Snapshots whose personal fields are sealed: for states whose Schema marks them (`Personal.field`), with the subject in the state or in the
 * name of the stream. Where something in a state has been forgotten since it was saved, the stream is folded anew, as far as it is there.
 *
 * **Gotchas**: what the Schema of the state does not mark is kept in the clear. To mark it is to change the state's shape: old snapshots are not
 * found any more, and stand in the clear until `prune` (where a new one of the stream has been saved), or `remove`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSnapshots: Layer.Layer<Snapshots, never, Snapshots | Requirements> = Layer.effect(
  Snapshots,
  Effect.gen(function* () {
    const beneath = yield* Snapshots
    const { open, seal } = yield* makeSealing
    const itemOf = ({ fingerprint, state, stream }: Snapshot): Item => ({ json: state, kind: `$snapshot ${fingerprint}`, stream })
    const failed = (operation: string) => (error: Refused | KeysError) => new SnapshotError({ operation, cause: causeOf(error) })
    return {
      ...beneath,
      load: (stream, fingerprint) =>
        Effect.flatMap(beneath.load(stream, fingerprint), (found): Effect.Effect<Option.Option<Snapshot>, SnapshotError> => {
          if (Option.isNone(found)) return Effect.succeed(found)
          const { state: sealed } = found.value
          return Effect.map(Effect.mapError(open([itemOf(found.value)]), failed("load")), ([state = sealed]) =>
            Option.some({ ...found.value, state, forgotten: isForgottenSince(sealed, state) })
          )
        }),
      save: (snapshot, options) =>
        Effect.flatMap(Effect.mapError(seal([itemOf(snapshot)]), failed("save")), ([state]) =>
          beneath.save({ ...snapshot, state: state as Schema.Json }, options)
        )
    }
  })
)

const hasJson = (message: CloudEvent): message is CloudEvent & { readonly data: Schema.Json } =>
  message.data !== undefined && !(message.data instanceof Uint8Array)

const itemOf = (message: CloudEvent & { readonly data: Schema.Json }): Item => ({
  json: message.data,
  kind: message.type,
  id: message.id,
  stream: message.subject
})

/** Messages with other data, by a function that takes those that have JSON. */
const withData = <M extends CloudEvent, E>(
  messages: ReadonlyArray<M>,
  change: (items: ReadonlyArray<Item>) => Effect.Effect<ReadonlyArray<Schema.Json>, E>
): Effect.Effect<ReadonlyArray<M>, E> => {
  const having = messages.filter((message) => hasJson(message))
  return Effect.map(change(having.map((message) => itemOf(message as CloudEvent & { readonly data: Schema.Json }))), (all) => {
    const data = new Map<CloudEvent, Schema.Json | undefined>(having.map((message, index) => [message, all[index]]))
    return messages.map((message) => (data.has(message) ? { ...message, data: data.get(message) } : message))
  })
}

const unavailable = (operation: string) => (error: KeysError) =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail: error.message, cause: error }) })

const opening = ({ open }: Sealing, deliveries: ReadonlyArray<Delivery>) =>
  Effect.map(
    withData(
      deliveries.map(({ message }) => message),
      open
    ),
    (messages) => deliveries.map((delivery, index): Delivery => ({ ...delivery, message: messages[index] ?? delivery.message }))
  )

/**
 * A transport whose messages are opened for consumers of this process, as `Personal.layer` opens events: a relay sends them sealed. What is
 * published here directly is sealed. What consumers put aside, and log, of a failure has no personal data of its message in it.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerTransport: Layer.Layer<Transport, never, Transport | Requirements> = Layer.merge(
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const beneath = yield* Transport
      const sealing = yield* makeSealing
      return {
        ...beneath,
        publish: (messages) => {
          // What a relay brings is sealed already.
          const isOpen = ({ data }: Message) => placesIn(data).some(({ envelope }) => envelope._tag === "Open")
          const open = messages.filter(isOpen)
          if (open.length === 0) return beneath.publish(messages)
          const refused = (error: Refused | KeysError) => {
            if (error._tag !== "Refused") return unavailable("publish")(error)
            const id = open[error.index]?.id ?? ""
            const detail = `data.${error.path} ${error.problem}`
            return new TransportError({ reason: new MessageRefused({ operation: "publish", id, detail }) })
          }
          return Effect.flatMap(Effect.mapError(withData(open, sealing.seal), refused), (sealed) => {
            let next = 0
            return beneath.publish(Arr.map(messages, (message) => (isOpen(message) ? (sealed[next++] ?? message) : message)))
          })
        },
        subscribe: (options) =>
          Stream.mapArrayEffect(beneath.subscribe(options), (deliveries) =>
            // There are as many as before.
            Effect.map(
              Effect.mapError(opening(sealing, deliveries), unavailable("subscribe")),
              (deliveries) => deliveries as unknown as Arr.NonEmptyReadonlyArray<Delivery>
            )
          )
      }
    })
  ),
  Layer.succeed(Masking, maskCause)
)

/**
 * Dead letters whose messages are sealed as they stand, and opened for whoever lists or retries them.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerDeadLetters: Layer.Layer<DeadLetters, never, DeadLetters | Requirements> = Layer.effect(
  DeadLetters,
  Effect.gen(function* () {
    const beneath = yield* DeadLetters
    const { open, seal } = yield* makeSealing
    const failed =
      (operation: string) =>
      <A>(effect: Effect.Effect<A, Refused | KeysError>) =>
        Effect.mapError(effect, (error) => new DeadLettersError({ operation, cause: causeOf(error) }))
    const opened = (operation: string, letters: ReadonlyArray<DeadLetter>) =>
      Effect.map(
        failed(operation)(
          withData(
            letters.map(({ message }) => message),
            open
          )
        ),
        (messages) => letters.map((letter, index): DeadLetter => ({ ...letter, message: messages[index] ?? letter.message }))
      )
    return {
      ...beneath,
      park: (letter, options) =>
        Effect.flatMap(failed("park")(withData([letter.message], seal)), ([message]) =>
          beneath.park({ ...letter, message: message ?? letter.message }, options)
        ),
      list: (group, options) => Effect.flatMap(beneath.list(group, options), (letters) => opened("list", letters)),
      listAll: (options) => Effect.flatMap(beneath.listAll(options), (letters) => opened("list", letters)),
      get: (group, id) =>
        Effect.flatMap(beneath.get(group, id), (found) =>
          Option.isNone(found) ? Effect.succeed(found) : Effect.map(opened("get", [found.value]), Arr.head)
        )
    }
  })
)
