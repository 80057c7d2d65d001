/** A member of a consumer group: what it claims, hands out and settles. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { makeId } from "../../internal/ids.ts"
import { realSleep } from "../../internal/realTime.ts"
import { closingTime } from "../../sql/answering.ts"
import { closed, decodeText, makeDelivery, unavailable, wrap } from "../../transport/kit.ts"
import type { CloudEvent, Delivery, SubscribeOptions, Transport, TransportError } from "../../transport/Transport.ts"
import { textArray } from "../sql/statement.ts"
import type { Settle } from "./settling.ts"
import { failAs, type Shared } from "./shared.ts"

/** A delivery in the hand of a member. */
interface Claimed {
  readonly seq: number
  readonly attempts: number
  readonly message: CloudEvent
  /** Why it is no CloudEvent, if it is none. */
  readonly unreadable?: string
  /** Whether its consumer has said what becomes of it. */
  settled: boolean
}

/** What all members of a transport need. */
export interface Membership extends Shared {
  readonly settle: Settle
  readonly lease: Duration.Duration
  readonly pollInterval: Duration.Duration
}

interface Member {
  readonly id: string
  readonly group: string
  /** Whether it takes what is no CloudEvent. */
  readonly takesUnreadable: boolean
  /** The most that it may have in its hand at once. */
  readonly most: number
  /** The types it asks for; `null` is all. */
  readonly wanted: PgTypes.Parameter | null
  /** What has been handed out and is not known to be settled. */
  readonly inHand: Set<Claimed>
  /** How many of them are being acknowledged: so many are claimed ahead, and handed out when that has succeeded. */
  acknowledging: number
  /** What has been claimed and not handed out. */
  readonly ready: Array<Claimed>
  readonly changed: Latch.Latch
  /** When to ask for messages, unless told that there may be some. */
  askAt: number
  /** Held while the database is asked for messages, and when the member leaves: nothing is claimed after that. */
  readonly claiming: Semaphore.Semaphore
  left: boolean
  /** Why the subscription ends. */
  broken: TransportError | undefined
}

const makeMember = ({ concurrency = 1, group, types, unreadable }: SubscribeOptions, id: string): Member => ({
  id,
  group,
  takesUnreadable: unreadable === "deliver",
  most: Math.max(1, Math.floor(concurrency)),
  wanted: types === undefined ? null : textArray(types),
  inHand: new Set(),
  acknowledging: 0,
  ready: [],
  changed: Latch.makeUnsafe(false),
  askAt: 0,
  claiming: Semaphore.makeUnsafe(1),
  left: false,
  broken: undefined
})

const seqs = (all: ReadonlyArray<Claimed>) => textArray(all.map(({ seq }) => String(seq)))

const leaseSeconds = ({ lease }: Membership) => PgTypes.float8(Duration.toSeconds(lease))

/** Gives back what the member has. What cannot be given back now is given back when the lease has run out. */
const leaving = (membership: Membership, member: Member, wake: () => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { answering, ask, members, statements } = membership
    if (member.left) return Effect.void
    member.left = true
    member.inHand.clear()
    members.drop(wake)
    member.changed.openUnsafe()
    const release = Effect.suspend(() => ask(statements.release, [member.group, member.id, seqs(member.ready.splice(0))]))
    return member.claiming.withPermit(release).pipe(
      Effect.retry({
        schedule: Schedule.spaced("100 millis"),
        while: ({ reason }) => reason._tag === "ConnectionError" && !answering.isOver()
      }),
      Effect.tapCause((cause) => Effect.logDebug("eventfold: a member could not give back what it had", cause)),
      Effect.ignore,
      Effect.raceFirst(realSleep(closingTime)),
      Effect.andThen(members.wakeAll)
    )
  })

/** Renews the lease of what the member has, for as long as the scope is open. */
const renewing = (membership: Membership, { group, id, inHand, ready }: Member): Effect.Effect<unknown, never, Scope.Scope> => {
  const { ask, lease, statements } = membership
  return realSleep(Duration.divideUnsafe(lease, 3)).pipe(
    Effect.andThen(
      Effect.suspend(() =>
        inHand.size + ready.length === 0
          ? Effect.void
          : Effect.asVoid(ask(statements.renew, [group, id, seqs([...inHand, ...ready]), leaseSeconds(membership)]))
      )
    ),
    Effect.tapCause((cause) => Effect.logDebug("eventfold: a member could not renew its lease", cause)),
    Effect.ignore,
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )
}

/** Settles it once; a second time, or after the stream has ended, does nothing. `undefined` acknowledges. */
const settling = (
  { members: { wakeAll }, scope, settle }: Membership,
  member: Member,
  claimed: Claimed,
  delay: Duration.Duration | undefined
): Effect.Effect<void, TransportError> => {
  if (claimed.settled || !member.inHand.has(claimed)) return Effect.void
  claimed.settled = true
  const { attempts, seq } = claimed
  const acknowledges = delay === undefined
  if (acknowledges) {
    member.acknowledging++
    member.changed.openUnsafe()
  }
  const seconds = acknowledges ? null : Duration.toSeconds(delay)
  const settled = settle({ group: member.group, seq, attempts, member: member.id, delay: seconds }).pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (acknowledges) member.acknowledging--
        if (Exit.isSuccess(exit)) member.inHand.delete(claimed)
        // Nothing may overtake what perhaps comes again, so whatever this member has is given back.
        else member.broken ??= unavailable("settle", `it is not known whether the message ${seq} is settled`, exit.cause)
        member.changed.openUnsafe()
      })
    )
  )
  // An acknowledgement makes room for this member alone.
  if (acknowledges) return settled
  const later = Effect.asVoid(Effect.forkIn(Effect.andThen(realSleep(delay), wakeAll), scope))
  return Effect.andThen(settled, Effect.andThen(wakeAll, later))
}

const handOut = (membership: Membership, member: Member, claimed: Claimed): Delivery => {
  member.inHand.add(claimed)
  const settle = (delay: Duration.Duration | undefined) => Effect.suspend(() => settling(membership, member, claimed, delay))
  return makeDelivery(claimed.message, claimed.attempts, settle, claimed.unreadable)
}

/** It is no message: it is done with for the group, and stays in its table for as long as others do. */
const setAside = ({ settle }: Membership, { group, id }: Member, seq: number, attempts: number, why: string) =>
  Effect.andThen(
    Effect.logError(`eventfold: the message ${seq} is no CloudEvent, and is set aside by the group "${group}": ${why}`),
    settle({ group, seq, attempts, member: id, delay: null })
  )

/** Claims messages. Whoever interrupts it finds what was claimed among what is ready. */
const claiming = (membership: Membership, member: Member, count: number): Effect.Effect<void, TransportError> => {
  const { ask, pollInterval, sql, statements } = membership
  // Alone in its transaction, a claim need not be flushed to the disk: if it is lost, the messages are delivered again.
  const asked = Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) => {
    const parameters = [member.group, member.wanted, count, member.id, leaseSeconds(membership), Option.isNone(transaction)]
    return Effect.mapError(ask(statements.claim, parameters), failAs("subscribe"))
  })
  const claim = Effect.gen(function* () {
    if (member.left) return
    member.askAt = performance.now() + Duration.toMillis(pollInterval)
    const rows = yield* asked
    // There may be more.
    if (rows.length === count) member.askAt = 0
    for (const { attempts, body, seq } of rows) {
      const message = decodeText(body)
      if (Result.isSuccess(message)) member.ready.push({ seq, attempts, message: message.success, settled: false })
      else if (member.takesUnreadable) {
        const wrapped = wrap({ source: "postgres:message", id: String(seq), body })
        member.ready.push({ seq, attempts, message: wrapped, unreadable: message.failure, settled: false })
      } else yield* setAside(membership, member, seq, attempts, message.failure)
    }
  })
  return Effect.uninterruptible(member.claiming.withPermit(claim))
}

/** The next deliveries: as many as there is room for, and at least one. */
const next = (membership: Membership, member: Member) => {
  const { changed, inHand, most, ready } = member
  return Effect.gen(function* () {
    while (true) {
      changed.closeUnsafe()
      if (member.left) return yield* closed("subscribe")
      if (member.broken !== undefined) return yield* member.broken
      const free = most - inHand.size + member.acknowledging - ready.length
      if (free > 0 && performance.now() >= member.askAt) yield* claiming(membership, member, free)
      const deliveries = ready.splice(0, most - inHand.size).map((claimed) => handOut(membership, member, claimed))
      if (Arr.isArrayNonEmpty(deliveries)) return deliveries
      yield* free > 0 ? Effect.raceFirst(changed.await, realSleep(Math.max(0, member.askAt - performance.now()))) : changed.await
    }
  })
}

export const makeSubscribe =
  (membership: Membership): Transport["Service"]["subscribe"] =>
  (options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const member = makeMember(options, yield* makeId)
        const wake = () => {
          member.askAt = 0
          member.changed.openUnsafe()
        }
        const leave = leaving(membership, member, wake)
        membership.members.join(wake, leave)
        yield* Effect.addFinalizer(() => leave)
        yield* renewing(membership, member)
        return Stream.fromPull(Effect.succeed(next(membership, member)))
      })
    )
