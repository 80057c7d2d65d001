/**
 * The stream and the consumers of groups: looked up, made where they are absent, and what a consumer filters.
 */
import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamInfo,
  type StreamUpdateConfig
} from "@nats-io/jetstream"
import { nanos } from "@nats-io/transport-node"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { attempting } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"
import type { Connection } from "./connection.ts"
import { token } from "./encoding.ts"

export interface Settings {
  readonly stream: string
  /** What the subjects begin with. */
  readonly prefix: string
  /** Whether what is absent is made. */
  readonly create: boolean
  readonly streamConfig: Partial<Omit<StreamUpdateConfig, "subjects" | "duplicate_window">> | undefined
  readonly duplicateWindow: Duration.Duration
  readonly ackWait: Duration.Duration
}

export interface Topology extends Settings {
  /** Makes the stream when it is absent. */
  readonly openStream: Effect.Effect<void, TransportError>
  /** The largest message that the stream takes, in bytes. */
  readonly largestMessage: () => number
  readonly streamInfo: Effect.Effect<StreamInfo, TransportError>
  readonly consumerInfo: (consumer: string) => Effect.Effect<ConsumerInfo, TransportError>
  /**
   * Makes the consumer of a group when it is absent, the stream too, and widens what it gets when the types (all, when undefined)
   * are more.
   */
  readonly openConsumer: (
    consumer: string,
    types: ReadonlyArray<string> | undefined
  ) => Effect.Effect<ConsumerInfo, TransportError>
  /** Deletes the consumer of a group. Whether there was one. */
  readonly dropConsumer: (consumer: string) => Effect.Effect<boolean, TransportError>
  /** The encoded types that a consumer gets: all, when undefined. */
  readonly typesOf: (info: ConsumerInfo) => ReadonlySet<string> | undefined
}

const { ConsumerNotFound, StreamNotFound } = JetStreamApiCodes
/** The server's number for a stream that is there already, with other settings. */
const streamNameInUse = 10058
const typesNote = "types: "
/** Servers from 2.10 on do not change what they are asked to create. */
const asUpdate = { action: "update", pedantic: false }

const isApiError = (error: TransportError, code: number): boolean =>
  error.reason.cause instanceof JetStreamApiError && error.reason.cause.code === code

/** Whether there is no such consumer, or not even its stream. */
export const isMissing = (error: TransportError): boolean =>
  isApiError(error, ConsumerNotFound) || isApiError(error, StreamNotFound)

const isAtLeast = (version: string, major: number, minor: number): boolean => {
  const [theMajor = 0, theMinor = 0] = version.split(".").map(Number)
  return theMajor > major || (theMajor === major && theMinor >= minor)
}

/** A consumer's filter for encoded types, and where the server cannot filter by several, a note of them. */
const filterOf = ({ nats }: Connection, prefix: string, types: ReadonlyArray<string> | undefined) => {
  if (types === undefined) return {}
  const subjects = types.map((type) => `${prefix}.${type}`)
  const [only] = subjects
  if (only !== undefined && subjects.length === 1) return { filter_subject: only }
  return isAtLeast(nats.info?.version ?? "", 2, 10) ? { filter_subjects: subjects } : { description: typesNote + types.join(" ") }
}

const typesOf =
  (prefix: string): Topology["typesOf"] =>
  ({ config }) => {
    const { description = "", filter_subject, filter_subjects } = config
    const subjects = filter_subjects ?? (filter_subject ? [filter_subject] : [])
    const types = subjects.map((subject) => subject.slice(prefix.length + 1))
    if (types.length === 0 && description.startsWith(typesNote)) types.push(...description.slice(typesNote.length).split(" "))
    return types.length === 0 || types.some((type) => type === "*" || type === ">") ? undefined : new Set(types)
  }

const streamOf = (manager: JetStreamManager, settings: Settings): Effect.Effect<StreamInfo, TransportError> => {
  const { create, duplicateWindow, prefix, stream, streamConfig } = settings
  const info = attempting("open stream", () => manager.streams.info(stream))
  const add = attempting("create stream", () =>
    manager.streams.add({
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      ...streamConfig,
      name: stream,
      subjects: [`${prefix}.*`],
      duplicate_window: nanos(Duration.toMillis(duplicateWindow))
    })
  ).pipe(
    // Another process was quicker, with other settings.
    Effect.catchIf(
      (error) => isApiError(error, streamNameInUse),
      () => info
    )
  )
  return Effect.catchIf(
    info,
    (error) => create && isApiError(error, StreamNotFound),
    () => add
  )
}

export const makeTopology = Effect.fnUntraced(function* (
  connection: Connection,
  settings: Settings
): Effect.fn.Return<Topology, TransportError> {
  const { ackWait, create, prefix, stream } = settings
  const timeout = Duration.toMillis(connection.timeout)
  const manager = yield* attempting("connect", () => jetstreamManager(connection.nats, { timeout, checkAPI: false }))
  let largestMessage = Infinity
  const openStream = Effect.map(streamOf(manager, settings), ({ config }) => {
    largestMessage = config.max_msg_size > 0 ? config.max_msg_size : Infinity
  })
  const presentTypes = typesOf(prefix)

  const consumerInfo: Topology["consumerInfo"] = (consumer) =>
    attempting("subscribe", () => manager.consumers.info(stream, consumer))

  const addConsumer = (consumer: string, wanted: ReadonlyArray<string> | undefined) =>
    attempting("subscribe", () =>
      manager.consumers.add(stream, {
        durable_name: consumer,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(Duration.toMillis(ackWait)),
        deliver_policy: DeliverPolicy.All,
        max_ack_pending: -1,
        ...filterOf(connection, prefix, wanted)
      })
    ).pipe(
      // Servers before 2.10 may fail when two ask at once.
      Effect.catch((error) => Effect.mapError(consumerInfo(consumer), () => error))
    )

  return {
    ...settings,
    openStream,
    streamInfo: attempting("look", () => manager.streams.info(stream)),
    largestMessage: () => largestMessage,
    consumerInfo,
    typesOf: presentTypes,
    dropConsumer: (consumer) =>
      attempting("forget", () => manager.consumers.delete(stream, consumer)).pipe(
        Effect.catchIf(isMissing, () => Effect.succeed(false))
      ),
    openConsumer: Effect.fnUntraced(function* (consumer, types) {
      const wanted = types?.map(token)
      const info = yield* consumerInfo(consumer).pipe(
        Effect.catchIf(
          (error) => create && isApiError(error, ConsumerNotFound),
          () => addConsumer(consumer, wanted)
        ),
        // Somebody has deleted the stream, and the consumers with it.
        Effect.catchIf(
          (error) => create && isApiError(error, StreamNotFound),
          () => Effect.andThen(openStream, addConsumer(consumer, wanted))
        )
      )
      const present = presentTypes(info)
      if (!create || present === undefined || wanted?.every((type) => present.has(type)) === true) return info
      const { description: _1, filter_subject: _2, filter_subjects: _3, ...rest } = info.config
      const all = wanted === undefined ? undefined : Array.from(new Set([...present, ...wanted]))
      const widened = { ...rest, ...filterOf(connection, prefix, all) }
      return yield* attempting("subscribe", () => manager.consumers.add(stream, widened, asUpdate))
    })
  }
})
