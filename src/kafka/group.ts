/**
 * A group, as far as this process is a member of it: one consumer of Kafka, and the partitions that it is given. Its subscriptions share
 * what comes.
 */
import { Consumer, GroupProtocols, MessagesStreamFallbackModes, MessagesStreamModes } from "@platformatic/kafka"
import type { ConsumerOptions, MessagesStream } from "@platformatic/kafka"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeEpisodes } from "../internal/episodes.ts"
import { inBackground } from "../sql/reasons.ts"
import { unavailable } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"
import { Incoming } from "./cloudEvents.ts"
import { type Connection, says } from "./connection.ts"
import type { Memory } from "./memory.ts"
import { recordsOf } from "./records.ts"
import type { Topic } from "./topic.ts"
import { type Held, Window } from "./window.ts"

export interface Settings {
  readonly groupProtocol: "classic" | "consumer"
  /** After how long without a sign of life a member's partitions go to others, in milliseconds. */
  readonly session: number
  /** How far beyond the oldest message in hand of a partition others are handed out. */
  readonly reach: number
  /** The longest that a partition stands still for a message that waits, in milliseconds. */
  readonly longestPause: number
}

/** A message that has been handed out. */
export type Handed = Held<Incoming>

/** A subscription of this process. */
export interface Member {
  /** Whether it takes this record now: `"never"` when it did not ask for it. */
  readonly wants: (incoming: Incoming) => "now" | "later" | "never"
  readonly give: (handed: Handed) => void
  /** The group cannot go on. */
  readonly fail: (error: TransportError) => void
}

export interface Group {
  readonly join: (member: Member) => void
  /** Takes back what the member has not settled. */
  readonly leave: (member: Member, unsettled: ReadonlyArray<Handed>) => void
  readonly ack: (handed: Handed) => void
  readonly nack: (handed: Handed, delay: Duration.Duration) => void
  /** There may be room for more. */
  readonly wake: () => void
}

/** What Kafka calls a group: groups of different topics are different. The client takes no white space. */
export const groupId = (topic: string, group: string): string =>
  `${topic}:${group.replace(/[\s%]/g, (char) => encodeURIComponent(char))}`

/** How long the brokers wait for something new, in milliseconds; and when members wait for what is not asked for. */
const patience = { usual: 500, short: 20 }
/** How much is asked of a broker at once, and of one of its partitions at least: what comes is read at once, and waits in memory. */
const bytes = { most: 1 * 1024 * 1024, least: 64 * 1024 }
/** How often what has been acknowledged is committed, and looked at whether partitions have come or gone, in milliseconds. */
const beat = 100
/** After how many sessions a member begins anew that has heard of no partitions. */
const silence = 4

const consumerOptions = (
  { base }: Connection,
  id: string,
  settings: Settings
): ConsumerOptions<Buffer, Buffer, Buffer, Buffer> => {
  const { groupProtocol, session } = settings
  const common = {
    ...base,
    groupId: id,
    autocommit: false,
    maxWaitTime: patience.usual,
    minBytes: 1,
    sessionTimeout: session,
    rebalanceTimeout: session,
    heartbeatInterval: Math.max(100, Math.floor(session / 5))
  }
  return groupProtocol === "consumer"
    ? { ...common, groupProtocol: GroupProtocols.CONSUMER }
    : // What a member keeps over a change it goes on with.
      { ...common, protocols: [{ name: "cooperative-sticky", version: 1 }] }
}

/** What a broker answers to a fetch. */
type FetchResponse = Awaited<ReturnType<Consumer["fetch"]>>

/** Who is told of what has happened. */
interface Told {
  /** The topic has lost something before the group has seen it. */
  readonly lost: (detail: string) => void
  /** The group cannot go on. */
  readonly failed: () => void
  /** How far it has come stands, or could not be said. */
  readonly committed: (failure: TransportError | undefined) => void
}

/** What brokers say to a member while its group shares out the partitions. */
const changes = ["REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "STALE_MEMBER_EPOCH", "FENCED_MEMBER_EPOCH"]

class Engine implements Group {
  private readonly consumer: Consumer
  private readonly windows = new Map<number, Window<Incoming>>()
  private readonly members = new Set<Member>()
  private readonly asked = new Set<number>()
  private assignments: Consumer["assignments"] = null
  private opening = new Set<number>()
  private timer: NodeJS.Timeout | undefined
  private commit: Promise<void> | undefined
  /** The connections that are asked for what is new: they answer late, and whatever else is asked over them waits behind. */
  private connections: MessagesStream<Buffer, Buffer, Buffer, Buffer>["connections"] | undefined
  private isWoken = false
  /** Ends when the client has joined, or has not been able to. */
  private joining: Promise<void> = Promise.resolve()
  private isClosed = false
  private readonly startedAt = performance.now()
  private turn = 0

  private readonly connection: Connection
  private readonly topic: Topic
  private readonly settings: Settings
  private readonly memory: Memory
  private readonly told: Told

  constructor(connection: Connection, topic: Topic, group: string, settings: Settings, memory: Memory, told: Told) {
    this.connection = connection
    this.topic = topic
    this.settings = settings
    this.memory = memory
    this.told = told
    this.consumer = new Consumer(consumerOptions(connection, groupId(topic.name, group), settings))
    this.consumer.on("error", (cause: unknown) => this.fail(cause))
    this.consumer.on("consumer:group:rebalance", () => void this.flush())
    this.consumer.on("consumer:group:join", () => this.beat())
    this.consumer.on("consumer:heartbeat:end", () => this.beat())
    this.consumer.on("consumer:heartbeat:stalled", ({ lastError }) =>
      this.fail(lastError ?? new Error("no heartbeat is answered"))
    )
  }

  /** Joins. The client's own stream of messages takes part in the group, and is never read. */
  start(): void {
    this.timer = setInterval(() => this.beat(), beat)
    this.joining = this.consumer
      .consume({
        topics: [this.topic.name],
        mode: MessagesStreamModes.COMMITTED,
        fallbackMode: MessagesStreamFallbackModes.EARLIEST,
        autocommit: false
      })
      .then(
        (stream) => {
          stream.on("error", (cause: unknown) => this.fail(cause))
          stream.pause()
          // The client lets it flow again after each change of the group.
          stream.on("resume", () => {
            if (!this.isClosed) stream.pause()
          })
          this.connections = stream.connections
          this.beat()
        },
        (cause: unknown) => this.fail(cause)
      )
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    clearInterval(this.timer)
    await this.flush()
    this.isClosed = true
    await this.end()
  }

  /** A client that is closed while it joins never ends joining. */
  private async end(): Promise<void> {
    await this.joining
    await this.consumer.close(true)
  }

  join(member: Member): void {
    this.members.add(member)
    this.wake()
  }

  leave(member: Member, unsettled: ReadonlyArray<Handed>): void {
    this.members.delete(member)
    for (const handed of unsettled) {
      if (!handed.seen) handed.attempt--
      this.windowOf(handed)?.giveBack(handed)
      this.memory.tried(handed.record.partition, handed.offset, handed.attempt)
    }
    this.wake()
  }

  ack(handed: Handed): void {
    const window = this.windowOf(handed)
    if (window === undefined) return
    window.done(handed)
    this.memory.done(handed.record.partition, handed.offset, window.position > handed.offset)
    this.wake()
  }

  nack(handed: Handed, delay: Duration.Duration): void {
    const window = this.windowOf(handed)
    if (window === undefined) return
    window.giveBack(handed)
    this.memory.tried(handed.record.partition, handed.offset, handed.attempt)
    const millis = Math.min(Duration.toMillis(delay), this.settings.longestPause)
    if (millis > 0) {
      // Not a moment too early, by the clock of whoever waits.
      window.pausedUntil = Math.max(window.pausedUntil, performance.now() + millis)
      setTimeout(() => this.wake(), millis + 1)
    }
    this.wake()
  }

  /** Hands out what there is room for, and asks for more: once for all that is said in one turn. */
  wake(): void {
    if (this.isWoken) return
    this.isWoken = true
    queueMicrotask(() => {
      this.isWoken = false
      this.goOn()
    })
  }

  private goOn(): void {
    if (this.isClosed) return
    if (this.consumer.assignments !== this.assignments) this.assign()
    this.handOut()
    this.fetch()
  }

  private readonly windowOf = (handed: Handed): Window<Incoming> | undefined => {
    const window = this.windows.get(handed.record.partition)
    return window?.has(handed) === true ? window : undefined
  }

  private fail(cause: unknown): void {
    if (this.isClosed) return
    this.isClosed = true
    clearInterval(this.timer)
    const error = /Unsupported API ConsumerGroupHeartbeat/.test(String(cause))
      ? unavailable(
          "subscribe",
          'the broker is older than the group protocol "consumer", which needs Kafka 4.0; "classic" is known to all'
        )
      : this.connection.failure("subscribe", cause)
    this.told.failed()
    for (const member of this.members) member.fail(error)
    // Nobody waits for it.
    this.end().catch(() => {})
  }

  private beat(): void {
    if (this.isClosed) return
    void this.flush()
    // A group that has nothing for a member says so. One that says nothing has forgotten it.
    if (this.consumer.assignments === null && performance.now() - this.startedAt > silence * this.settings.session) {
      return this.fail(new Error("the group has not said which partitions it gives"))
    }
    this.wake()
  }

  /** Commits how far each partition has come, if that is farther than before. */
  private flush(): Promise<void> {
    if (this.commit !== undefined) return this.commit.then(() => this.flush())
    const changed = Array.from(this.windows).filter(([, window]) => window.position > window.committed)
    if (changed.length === 0 || this.isClosed) return Promise.resolve()
    const positions = changed.map(([partition, window]) => ({ partition, window, position: window.position }))
    this.commit = this.consumer
      .commit({
        offsets: positions.map(({ partition, position }) => ({
          topic: this.topic.name,
          partition,
          offset: BigInt(position),
          leaderEpoch: -1
        }))
      })
      .then(
        () => {
          for (const { partition, position, window } of positions) {
            window.committed = Math.max(window.committed, position)
            this.memory.committed(partition, position)
          }
          this.told.committed(undefined)
        },
        // It is said again at the next beat, and by whoever has the partition then. That they change hands is no failure.
        (cause: unknown) => {
          if (!says(cause, ...changes)) this.told.committed(this.connection.failure("commit", cause))
        }
      )
      .finally(() => (this.commit = undefined))
    return this.commit
  }

  /** The partitions are those that the group has given. */
  private assign(): void {
    this.assignments = this.consumer.assignments
    const assigned = new Set(
      (this.assignments ?? []).flatMap(({ partitions, topic }) => (topic === this.topic.name ? partitions : []))
    )
    for (const partition of this.windows.keys()) if (!assigned.has(partition)) this.windows.delete(partition)
    const missing = Array.from(assigned).filter((partition) => !this.windows.has(partition) && !this.opening.has(partition))
    if (missing.length > 0) this.open(missing).catch((cause: unknown) => this.fail(cause))
  }

  /** Finds out from where on the partitions are to be handed out. */
  private async open(partitions: ReadonlyArray<number>): Promise<void> {
    const { name } = this.topic
    const assignments = this.assignments
    for (const partition of partitions) this.opening.add(partition)
    try {
      const asked = Array.from(partitions)
      const [committed, earliest] = await Promise.all([
        this.consumer.listCommittedOffsets({ topics: [{ topic: name, partitions: asked }] }),
        this.consumer.listOffsets({ topics: [name], partitions: { [name]: asked }, timestamp: -2n })
      ])
      // Who has been given others meanwhile asks anew.
      if (this.isClosed || this.consumer.assignments !== assignments) return
      this.memory.of(this.consumer.currentMetadata?.topics.get(name)?.id ?? "")
      for (const partition of partitions) {
        const first = Number(earliest.get(name)?.[partition] ?? 0n)
        const known = Number(committed.get(name)?.[partition] ?? -1n)
        if (known >= 0 && known < first) {
          this.told.lost(`${first - known} messages of the partition ${partition} were deleted before the group had seen them`)
        }
        this.windows.set(partition, new Window(Math.max(first, known), this.settings.reach))
      }
    } finally {
      for (const partition of partitions) this.opening.delete(partition)
      if (!this.isClosed) {
        if (this.consumer.assignments !== assignments || partitions.some((partition) => !this.windows.has(partition)))
          this.assignments = null
        setImmediate(() => this.wake())
      }
    }
  }

  /** Hands out from each partition in turn: none keeps the others waiting. */
  private handOut(): void {
    const now = performance.now()
    const waiting = Array.from(this.windows)
    while (waiting.length > 0) {
      this.turn = (this.turn + 1) % waiting.length
      const [partition, window] = waiting[this.turn] ?? []
      if (partition === undefined || window === undefined || !this.handOutOne(partition, window, now)) {
        waiting.splice(this.turn, 1)
      }
    }
  }

  /** Whether there was something, and somebody who takes it. */
  private handOutOne(partition: number, window: Window<Incoming>, now: number): boolean {
    const next = window.peek(now)
    if (next === undefined) return false
    const { offset } = next
    const member = this.memory.isDone(partition, offset) ? "never" : this.memberFor(next.record)
    if (member === "later") return false
    if (member === "never") {
      window.pass()
      return true
    }
    const held = window.give(this.memory.attempts(partition, offset))
    if (held === undefined) return false
    member.give(held)
    // The next one goes to the next one.
    if (this.members.size > 1) {
      this.members.delete(member)
      this.members.add(member)
    }
    return true
  }

  private memberFor(incoming: Incoming): Member | "later" | "never" {
    let answer: "later" | "never" = this.members.size === 0 ? "later" : "never"
    for (const member of this.members) {
      const wants = member.wants(incoming)
      if (wants === "now") return member
      if (wants === "later") answer = "later"
    }
    return answer
  }

  /** Asks each broker that is not being asked for what shall be fetched of its partitions. */
  private fetch(): void {
    if (this.members.size === 0 || this.windows.size === 0 || this.connections === undefined) return
    const metadata = this.consumer.currentMetadata?.topics.get(this.topic.name)
    if (metadata === undefined) return
    const brokers = new Map<number, Array<number>>()
    let waits = false
    for (const [partition, window] of this.windows) {
      const leader = metadata.partitions[partition]?.leader
      if (leader === undefined || this.asked.has(leader)) continue
      if (!window.wants) waits = true
      else brokers.set(leader, [...(brokers.get(leader) ?? []), partition])
    }
    for (const [broker, partitions] of brokers) {
      this.asked.add(broker)
      this.ask(broker, metadata.id, partitions, waits ? patience.short : patience.usual).then(
        () => {
          this.asked.delete(broker)
          this.wake()
        },
        (cause: unknown) => {
          this.asked.delete(broker)
          this.fail(cause)
        }
      )
    }
  }

  private async ask(node: number, topicId: string, partitions: ReadonlyArray<number>, maxWaitTime: number): Promise<void> {
    const over = this.connections === undefined ? {} : { connectionPool: this.connections }
    const from = new Map(partitions.map((partition) => [partition, this.windows.get(partition)] as const))
    const epoch = { currentLeaderEpoch: -1, lastFetchedEpoch: -1 }
    const wanted = partitions.map((partition) => ({
      partition,
      fetchOffset: BigInt(from.get(partition)?.next ?? 0),
      partitionMaxBytes: Math.max(bytes.least, Math.floor(bytes.most / partitions.length)),
      ...epoch
    }))
    const responses = await this.consumer
      .fetch({ node, topics: [{ topicId, partitions: wanted }], maxWaitTime, minBytes: 1, ...over })
      .then(
        ({ responses }) => responses,
        (cause: unknown) => this.outOfRange(cause, from)
      )
    for (const { partitions } of responses) {
      for (const { abortedTransactions, partitionIndex, records } of partitions) {
        const window = this.windows.get(partitionIndex)
        // What belongs to a former membership is stale.
        if (!records || records.length === 0 || window === undefined || window !== from.get(partitionIndex)) continue
        const { next, records: all } = recordsOf(records, abortedTransactions ?? [])
        window.take(
          all.map(({ offset, record }) => ({ offset, size: record.length, record: new Incoming(partitionIndex, record) })),
          next
        )
      }
    }
  }

  /** Goes on with what there is where a partition has lost what comes next. Fails with everything else. */
  private outOfRange(cause: unknown, from: ReadonlyMap<number, Window<Incoming> | undefined>): FetchResponse["responses"] {
    const response = findResponse(cause)
    if (response === undefined || !says(cause, "OFFSET_OUT_OF_RANGE")) throw cause
    for (const { partitions } of response.responses) {
      for (const { errorCode, logStartOffset, partitionIndex } of partitions) {
        if (errorCode === 0) continue
        const window = this.windows.get(partitionIndex)
        if (errorCode !== 1 || window === undefined || window !== from.get(partitionIndex)) throw cause
        const first = Math.max(0, Number(logStartOffset))
        // Its offsets may be those of other messages now.
        if (first <= window.next) this.memory.forget()
        this.told.lost(
          first > window.next
            ? `${first - window.next} messages of the partition ${partitionIndex} were deleted before the group had seen them`
            : `the partition ${partitionIndex} ends before the offset ${window.next} that the group had come to: it begins anew`
        )
        this.windows.set(partitionIndex, new Window(first, this.settings.reach))
      }
    }
    return []
  }
}

/** What the brokers have said in whole, where some of it is an error. */
const findResponse = (cause: unknown): FetchResponse | undefined => {
  if (typeof cause !== "object" || cause === null) return undefined
  if ("response" in cause && typeof cause.response === "object" && cause.response !== null && "responses" in cause.response) {
    return cause.response as FetchResponse
  }
  return "errors" in cause && Array.isArray(cause.errors)
    ? cause.errors.map(findResponse).find((found) => found !== undefined)
    : undefined
}

/** Becomes a member of a group, until the scope closes: then what is acknowledged is committed, and the partitions go to others. */
export const openGroup = Effect.fnUntraced(function* (
  connection: Connection,
  topic: Topic,
  group: string,
  settings: Settings,
  memory: Memory,
  failed: () => void
): Effect.fn.Return<Group, never, Scope.Scope> {
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const whose = `the group "${group}" of the topic "${topic.name}"`
  const lost = (detail: string) => run(Effect.logError(`eventfold: ${whose}: ${detail}`))
  const commits = makeEpisodes(`the progress of ${whose}`)
  const what = `eventfold: ${whose} cannot say how far it has come, so what is acknowledged may come again`
  const committed = (failure: TransportError | undefined) => {
    if (failure === undefined && !commits.isFailing(commits)) return
    run(inBackground(commits, what)(failure === undefined ? Effect.void : Effect.fail(failure)))
  }
  return yield* Effect.acquireRelease(
    Effect.sync(() => {
      const engine = new Engine(connection, topic, group, settings, memory, { lost, failed, committed })
      engine.start()
      return engine
    }),
    (engine) =>
      Effect.ignore(
        Effect.timeoutOption(
          Effect.tryPromise(() => engine.close()),
          "3 seconds"
        )
      )
  )
})
