/**
 * The consumers of this process, by group: those of one group share its messages, and are observed and steered together.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { makeRegistries, type Name, type Registered, type Registry, type Unavailable } from "../following/engine.ts"
import { Transport } from "../transport/Transport.ts"
import type { CloudEvent } from "../transport/Transport.ts"
import type { InboxError } from "./Inbox.ts"
import type { Failure, Status } from "./model.ts"

const stateGauge = Metric.gauge("eventfold_consumer_state", {
  description: "1 for the state that the consumers of the group are in, 0 for those that they have left, by group and state"
})

/** Tries a message once. An error is no failure of the message. */
export type Handle = (message: CloudEvent, attempt: number) => Effect.Effect<Option.Option<Failure>, InboxError | Unavailable>

/** One consumer. */
export class Member {
  readonly types: ReadonlySet<string>
  readonly handle: Handle
  /** Open unless it is paused. */
  readonly running = Latch.makeUnsafe(true)
  /** Open while it has not subscribed. */
  readonly idle = Latch.makeUnsafe(true)
  /** Tells the subscription that it has to end. */
  leave: Latch.Latch | undefined
  state: Name = "starting"
  cause: Cause.Cause<unknown> | undefined
  inFlight = 0
  constructor(types: ReadonlyArray<string>, handle: Handle) {
    this.types = new Set(types)
    this.handle = handle
  }
}

/** Lets a consumer begin no further message. Those in hand come to their end meanwhile: then it is idle. */
export const halt = ({ leave, running }: Member): void => {
  running.closeUnsafe()
  leave?.openUnsafe()
}

/** Lets a consumer go on. */
export const release = ({ running }: Member): void => void running.openUnsafe()

/** The consumers of one group, of one transport. */
export interface Group extends Registered {
  readonly name: string
  readonly members: Set<Member>
  readonly status: SubscriptionRef.SubscriptionRef<Status>
}

export const consumers = makeRegistries<Group>("eventfold/Transport/Consumers")

/** Those that need attention first. */
const urgency: ReadonlyArray<Name> = ["backing-off", "starting", "paused", "live"]

const summaryOf = ({ members, name }: Group): Status => {
  const running = Array.from(members)
  const first = urgency.flatMap((state) => running.filter((member) => member.state === state))[0]
  return {
    group: name,
    state: first?.state ?? "stopped",
    inFlight: running.reduce((sum, { inFlight }) => sum + inFlight, 0),
    cause: Option.fromUndefinedOr(first?.state === "backing-off" ? first.cause : undefined)
  }
}

/** Shows what a group has in hand. */
export const count = (group: Group): Effect.Effect<void> => SubscriptionRef.update(group.status, () => summaryOf(group))

/** Shows what has changed of a group. */
export const publish = (group: Group): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { state: before } = SubscriptionRef.getUnsafe(group.status)
    const { state } = summaryOf(group)
    const gauge = (name: Name) => Metric.withAttributes(stateGauge, { group: group.name, state: name })
    return Effect.all(
      [before === state ? Effect.void : Metric.update(gauge(before), 0), Metric.update(gauge(state), 1), count(group)],
      { discard: true }
    )
  })

/** Adds a consumer to its group, which is made with the first one. */
export const join = Effect.fnUntraced(function* (
  name: string,
  member: Member
): Effect.fn.Return<readonly [Group, Registry<Group> | undefined], never, Transport> {
  const home = yield* Transport
  const known = yield* consumers.find(name, home)
  if (known !== undefined && known.home === home) {
    known.members.add(member)
    return [known, undefined]
  }
  const members = new Set([member])
  const group: Group = {
    name,
    members,
    home,
    about: `the consumers of the group "${name}"`,
    isStopped: () => members.size === 0,
    status: yield* SubscriptionRef.make<Status>({ group: name, state: "starting", inFlight: 0, cause: Option.none() })
  }
  return [group, yield* consumers.register(name, group)]
})

/** The group of this name, as far as it can be seen from here. */
export const findGroup = (name: string): Effect.Effect<Group | undefined> =>
  Effect.flatMap(Effect.serviceOption(Transport), (home) => consumers.find(name, Option.getOrUndefined(home)))

/** The groups of a transport that this process has consumers of, by name. */
export const allGroups = (home: object | undefined): Effect.Effect<ReadonlyMap<string, Group>> => consumers.all(home)
