import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { placesIn } from "../definitions/personal.ts"
import {
  type AppendError,
  type EventStore,
  EventStoreError,
  InvalidAppendError,
  type NewEvent,
  type RecordedEvent,
  type StreamAppend,
  StoreUnavailable
} from "../store/EventStore.ts"
import type { KeysError } from "./subjectKeys.ts"
import type { Item, Refused, Sealing } from "./sealing.ts"

const unavailable = (operation: string) => (cause: KeysError) =>
  new EventStoreError({ reason: new StoreUnavailable({ operation, detail: cause.message, cause }) })

const itemOf = ({ payload, type }: { readonly payload: Item["json"]; readonly type: string }): Item => ({
  json: payload,
  kind: type
})

/** A store that seals what is appended and opens what is read, over one that keeps it sealed. */
export const decorated = (beneath: EventStore["Service"], sealing: Sealing): EventStore["Service"] => {
  const { open, seal } = sealing
  const opened = <E extends RecordedEvent>(operation: string, events: ReadonlyArray<E>) => {
    return open(events.map(itemOf)).pipe(
      Effect.map((payloads) =>
        events.map((event, index): E => {
          const payload = payloads[index] as E["payload"]
          return payload === event.payload ? event : { ...event, payload }
        })
      ),
      Effect.mapError(unavailable(operation))
    )
  }
  const openedAll = <E>(operation: string, stream: Stream.Stream<RecordedEvent, E>) =>
    Stream.mapArrayEffect(stream, (events) =>
      // There are as many as before.
      Effect.map(opened(operation, events), (events) => events as unknown as Arr.NonEmptyReadonlyArray<RecordedEvent>)
    )

  /** The parts of an append, sealed. */
  const sealed = (appends: ReadonlyArray<StreamAppend>): Effect.Effect<ReadonlyArray<StreamAppend>, AppendError> => {
    const found: Array<{ readonly index: number; readonly event: NewEvent; readonly item: Item & { readonly stream: string } }> =
      []
    for (const { events, stream } of appends) {
      for (let index = 0; index < events.length; index++) {
        const event = events[index] as NewEvent
        const places = placesIn(event.payload)
        if (places.length > 0) found.push({ index, event, item: { ...itemOf(event), id: event.id, stream, places } })
      }
    }
    if (found.length === 0) return Effect.succeed(appends)
    const refused = (error: Refused | KeysError): AppendError => {
      if (error._tag !== "Refused") return unavailable("append")(error)
      const { index, item } = found[error.index] as (typeof found)[number]
      const field = `events[${index}].payload${error.path === "" ? "" : `.${error.path}`}`
      return new InvalidAppendError({ stream: item.stream, field, problem: error.problem })
    }
    return Effect.mapBoth(seal(found.map(({ item }) => item)), {
      onFailure: refused,
      onSuccess: (payloads) => {
        let next = 0
        const withPayload = (event: NewEvent): NewEvent =>
          event === found[next]?.event ? { ...event, payload: payloads[next++] as Item["json"] } : event
        return appends.map(({ events, ...part }) => ({ ...part, events: events.map(withPayload) }))
      }
    })
  }

  return {
    ...beneath,
    sealed: { store: beneath, open: opened, over: (other) => decorated(other, sealing) },
    append: (stream, events, options) =>
      Effect.flatMap(sealed([{ stream, events }]), ([part]) => beneath.append(stream, part?.events ?? events, options)),
    appendAll: (appends, options) => Effect.flatMap(sealed(appends), (appends) => beneath.appendAll(appends, options)),
    read: (stream, options) => openedAll("read", beneath.read(stream, options)),
    readAll: (options) => openedAll("readAll", beneath.readAll(options)),
    subscribe: (options) => openedAll("subscribe", beneath.subscribe(options)),
    readPage: (options) =>
      Effect.flatMap(beneath.readPage(options), (page) =>
        Effect.map(opened("readPage", page.events), (events) => ({ ...page, events }))
      ),
    readBoundary: (queries, options) =>
      Effect.flatMap(beneath.readBoundary(queries, options), ({ answers, position }) =>
        Effect.map(
          opened(
            "readBoundary",
            answers.flatMap(({ events }) => events)
          ),
          (all) => {
            let next = 0
            return {
              position,
              answers: answers.map((answer) => ({ ...answer, events: all.slice(next, (next += answer.events.length)) }))
            }
          }
        )
      ),
    find: (id) =>
      Effect.flatMap(beneath.find(id), (found) =>
        Option.isNone(found) ? Effect.succeed(found) : Effect.map(opened("find", [found.value]), Arr.head)
      )
  }
}
