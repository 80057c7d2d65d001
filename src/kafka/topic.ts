/**
 * The topic: looked up, made where it is absent, and what it takes.
 */
import { Admin, ConfigResourceTypes } from "@platformatic/kafka"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { realSleep } from "../internal/realTime.ts"
import { unavailable } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"
import { type Connection, says } from "./connection.ts"

export interface Settings {
  readonly topic: string
  /** Whether it is made when it is absent, and with what. */
  readonly create: boolean
  readonly partitions: number
  readonly replicas: number
  readonly config: Readonly<Record<string, string>>
  /** Whether all messages of a stream have one key: then a compacted topic would lose all but the last of them. */
  readonly keepsAll: boolean
}

export interface Topic {
  readonly name: string
  readonly admin: Admin
  /** Looks it up, and makes it when it is absent. Fails where it is not there, and where it would lose messages. */
  readonly open: Effect.Effect<void, TransportError>
  /** The largest batch that it takes, in bytes. */
  readonly largestBatch: () => number
}

/** The broker's own default. */
const defaultLargest = 1_048_588
const largestKey = "max.message.bytes"
const policyKey = "cleanup.policy"

/** What the client makes of it when the brokers know no such topic. */
const isUnknown = (cause: unknown): boolean =>
  says(cause, "UNKNOWN_TOPIC_OR_PARTITION") || (cause instanceof Error && cause.message.startsWith("Unknown topic "))

export const makeTopic = Effect.fnUntraced(function* (
  { ask, base }: Connection,
  { config, create, keepsAll, partitions, replicas, topic }: Settings
): Effect.fn.Return<Topic, never, Scope.Scope> {
  const admin = yield* Effect.acquireRelease(
    Effect.sync(() => new Admin({ ...base })),
    (admin) =>
      Effect.ignore(
        Effect.timeoutOption(
          Effect.tryPromise(() => admin.close()),
          "2 seconds"
        )
      )
  )
  let largest = defaultLargest

  const isThere = ask("open topic", async () => {
    try {
      await admin.metadata({ topics: [topic], forceUpdate: true, retries: 0 })
      return true
    } catch (cause) {
      if (isUnknown(cause)) return false
      // One that has just been made, or has just lost its leader, is there.
      if (says(cause, "LEADER_NOT_AVAILABLE")) return true
      throw cause
    }
  })
  const make = ask("create topic", async () => {
    const configs = Object.entries(config).map(([name, value]) => ({ name, value }))
    try {
      await admin.createTopics({ topics: [{ topic, partitions, replicas }], configs })
    } catch (cause) {
      // Another process was quicker.
      if (!says(cause, "TOPIC_ALREADY_EXISTS")) throw cause
    }
  })
  /** A topic has leaders a moment after it has been made. */
  const hasLeaders = (times = 100): Effect.Effect<void, TransportError> =>
    ask("open topic", () => admin.metadata({ topics: [topic], forceUpdate: true, retries: 0 })).pipe(
      Effect.flatMap(({ topics }) => {
        const leaders = topics.get(topic)?.partitions.map(({ leader }) => leader) ?? []
        return leaders.length > 0 && leaders.every((leader) => leader >= 0)
          ? Effect.void
          : Effect.fail(unavailable("open topic", `the topic "${topic}" has partitions without a leader`))
      }),
      Effect.catch((error) => (times === 0 ? Effect.fail(error) : Effect.andThen(realSleep("50 millis"), hasLeaders(times - 1))))
    )
  const settings = ask("open topic", async () => {
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: [largestKey, policyKey] }
    try {
      const all = await admin.describeConfigs({ resources: [resource] })
      return new Map(all.flatMap(({ configs }) => configs.map(({ name, value }) => [name, value] as const)))
    } catch (cause) {
      // Who may not ask for it does without.
      if (says(cause, "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED")) return new Map<string, string | null>()
      throw cause
    }
  })

  return {
    name: topic,
    admin,
    largestBatch: () => largest,
    open: Effect.gen(function* () {
      if (!(yield* isThere)) {
        if (!create) return yield* unavailable("open topic", `the topic "${topic}" is not there, and must not be created`)
        yield* make
      }
      yield* hasLeaders()
      const found = yield* settings
      largest = Number(found.get(largestKey) ?? defaultLargest)
      if (keepsAll && found.get(policyKey)?.includes("compact") === true) {
        const detail = `the topic "${topic}" is compacted: of each stream it would keep the last message alone`
        return yield* unavailable("open topic", `${detail}. Set its cleanup.policy to "delete", or say another \`key\``)
      }
    })
  }
})
