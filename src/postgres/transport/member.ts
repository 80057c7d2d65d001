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
import { failAs, maxBatchBytes, type Shared } from "./shared.ts"

/** A delivery in the hand of a member. */
interface Claimed {
  readonly seq: number
  readonly attempts: number
  /** Itself; absent where there was no room for it: it is fetched when it is its turn. */
  message?: CloudEvent
  /** Why it is no CloudEvent, if it is none. */
  unreadable?: string
  /** Whether its consumer has said what becomes of it. */
  settled: boolean
}

/** What all members of a transport need. */
export interface Membership extends Shared {
  readonly settle: Settle
  readonly lease: Duration.Duration
  readonly pollInterval: Duration.Duration
  /** The most bytes of one message. */
  readonly maxMessageBytes: number
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
  most: concurrency,
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

const handOut = (membership: Membership, member: Member, claimed: Claimed & { readonly message: CloudEvent }): Delivery => {
  member.inHand.add(claimed)
  const settle = (delay: Duration.Duration | undefined) => Effect.suspend(() => settling(membership, member, claimed, delay))
  return makeDelivery(claimed.message, claimed.attempts, settle, claimed.unreadable)
}

/** It is no message: it is done with for the group, and stays in its table for as long as others do. */
const setAside = ({ settle }: Membership, { group, id }: Member, { attempts, seq, unreadable }: Claimed) =>
  Effect.andThen(
    Effect.logError(`eventfold: the message ${seq} is no CloudEvent, and is set aside by the group "${group}": ${unreadable}`),
    settle({ group, seq, attempts, member: id, delay: null })
  )

/** Among what is ready is a message from now on, or what stands for it, if the member takes that. Says whether it is. */
const read = ({ takesUnreadable }: Member, claimed: Claimed, body: string, fault?: string): boolean => {
  const message = fault === undefined ? decodeText(body) : Result.fail(fault)
  if (Result.isSuccess(message)) claimed.message = message.success
  else {
    claimed.unreadable = message.failure
    if (takesUnreadable) claimed.message = wrap({ source: "postgres:message", id: String(claimed.seq), body })
  }
  return claimed.message !== undefined
}

/** Takes a message whose text is here. */
const take = (membership: Membership, member: Member, claimed: Claimed, body: string, fault?: string) => {
  if (!read(member, claimed, body, fault)) return setAside(membership, member, claimed)
  member.ready.push(claimed)
  return Effect.void
}

const tooLarge = (bytes: number, limit: number) => `its ${bytes} bytes are more than the ${limit} that this transport takes`

/** Fetches the first of what is ready and not here: as many as there is room for. What is gone, or no message, is ready no more. */
const fetching = (membership: Membership, member: Member): Effect.Effect<void, TransportError> => {
  const { ask, statements } = membership
  return Effect.gen(function* () {
    const missing = member.ready.filter(({ message }) => message === undefined)
    const [first] = missing
    if (first === undefined || first !== member.ready[0]) return
    const asked = ask(statements.bodies, [seqs(missing), PgTypes.float8(maxBatchBytes)])
    const found = yield* Effect.mapError(asked, failAs("subscribe"))
    for (const claimed of missing) {
      const body = found.get(claimed.seq)
      if (body !== undefined && read(member, claimed, body)) continue
      // Those behind the first that did not come have yet to come.
      if (body === undefined && found.size > 0) break
      member.ready.splice(member.ready.indexOf(claimed), 1)
      if (body !== undefined) yield* setAside(membership, member, claimed)
    }
  })
}

const isHere = (claimed: Claimed): claimed is Claimed & { readonly message: CloudEvent } => claimed.message !== undefined

/** Claims messages. Whoever interrupts it finds what was claimed among what is ready. */
const claiming = (membership: Membership, member: Member, count: number): Effect.Effect<void, TransportError> => {
  const { ask, maxMessageBytes, pollInterval, sql, statements } = membership
  // Alone in its transaction, a claim need not be flushed to the disk: if it is lost, the messages are delivered again.
  const asked = Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) => {
    const limits = [PgTypes.float8(maxBatchBytes), PgTypes.float8(maxMessageBytes)]
    const async = Option.isNone(transaction)
    const parameters = [member.group, member.wanted, count, member.id, leaseSeconds(membership), async, ...limits]
    return Effect.mapError(ask(statements.claim, parameters), failAs("subscribe"))
  })
  const claim = Effect.gen(function* () {
    if (member.left) return
    member.askAt = performance.now() + Duration.toMillis(pollInterval)
    const rows = yield* asked
    // There may be more.
    if (rows.length === count) member.askAt = 0
    for (const { attempts, body, bytes, seq } of rows) {
      const claimed: Claimed = { seq, attempts, settled: false }
      if (bytes > maxMessageBytes) yield* take(membership, member, claimed, body ?? "", tooLarge(bytes, maxMessageBytes))
      else if (body === null) member.ready.push(claimed)
      else yield* take(membership, member, claimed, body)
    }
  })
  return Effect.uninterruptible(member.claiming.withPermit(claim))
}

/** For how many messages there is room: those that are being acknowledged have gone. */
const roomOf = ({ acknowledging, inHand, most, ready }: Member): number => most - inHand.size + acknowledging - ready.length

/** The next deliveries: as many as there is room for, and at least one. */
const next = (membership: Membership, member: Member) => {
  const { changed, inHand, most, ready } = member
  return Effect.gen(function* () {
    while (true) {
      changed.closeUnsafe()
      if (member.left) return yield* closed("subscribe")
      if (member.broken !== undefined) return yield* member.broken
      if (roomOf(member) > 0 && performance.now() >= member.askAt) {
        // What is acknowledged in one turn makes room at once.
        if (inHand.size > 0) yield* Effect.yieldNow
        yield* claiming(membership, member, roomOf(member))
      }
      yield* fetching(membership, member)
      const here = ready.findIndex((claimed) => !isHere(claimed))
      const count = Math.min(most - inHand.size, here === -1 ? ready.length : here)
      const deliveries = ready
        .splice(0, count)
        .filter(isHere)
        .map((claimed) => handOut(membership, member, claimed))
      if (Arr.isArrayNonEmpty(deliveries)) return deliveries
      yield* roomOf(member) > 0
        ? Effect.raceFirst(changed.await, realSleep(Math.max(0, member.askAt - performance.now())))
        : changed.await
      // What is settled in one turn makes room at once.
      yield* Effect.yieldNow
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
