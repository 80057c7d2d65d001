/**
 * Followers of several names that run in several processes: leases spread by themselves.
 *
 * Whoever starts first holds everything. A process that stands by for a name, and holds two fewer than the one that has it, takes the seat of that
 * name; the other sees so, ends what it has in hand there, gives the lease back and lets others claim for a while. So each process comes to hold as
 * many as the others, and no more is moved than that takes. Placement is a matter of locality alone: who may move a checkpoint is decided by its lease, as ever.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import { makeId } from "../internal/ids.ts"
import { beat, type Checkpoint, type CheckpointError, type Checkpoints, type Lease } from "../store/Checkpoints.ts"
import { isSeat, seatOf } from "./names.ts"

/** A follower of this process. */
interface Member {
  readonly checkpoint: string
  readonly ttl: Duration.Duration
  /** Whether it could be moved just now: one that was paused here stays, for another process knows nothing of that. */
  readonly isMovable: () => boolean
  /** Whether another process has what it would follow. */
  readonly standsBy: () => boolean
  /** Lets another process take over. */
  readonly leave: () => void
}

/** The followers of this process whose leases are kept in one place. */
interface Spreading {
  /** What the names of their owners begin with. */
  readonly process: string
  readonly members: Map<string, Member>
  /** The seats that this process has taken, by the checkpoint that each is beside. */
  readonly seats: Map<string, Lease>
  lookedAt: number
  held: number
}

// The state of an instance, kept beside it: an adapter knows nothing of it.
const known = new WeakMap<Checkpoints["Service"], Spreading>()

const spreadingOf = (checkpoints: Checkpoints["Service"]): Effect.Effect<Spreading> =>
  Effect.map(makeId, (process) => {
    const spreading = known.get(checkpoints) ?? { process, members: new Map(), seats: new Map(), lookedAt: 0, held: 0 }
    known.set(checkpoints, spreading)
    return spreading
  })

/** In whose name a follower of this process claims. */
export const makeOwner = (checkpoints: Checkpoints["Service"]): Effect.Effect<string> =>
  Effect.flatMap(spreadingOf(checkpoints), ({ process }) => Effect.map(makeId, (id) => `${process}/${id}`))

/** How many leases this process held when that was last looked up: who holds many lets others claim first. */
export const heldHere = (checkpoints: Checkpoints["Service"]): number => known.get(checkpoints)?.held ?? 0

const processOf = (owner: string): string => owner.split("/")[0] ?? owner

/** What is known of a checkpoint, and of the seat beside it: which process has it, if its lease has not run out. */
export interface Row {
  readonly name: string
  readonly holder: string | undefined
}

/** What this process gives up, and which seats it takes; what else it sits on it leaves. */
export const planOf = (
  process: string,
  members: ReadonlyArray<string>,
  rows: ReadonlyArray<Row>
): { readonly leave: ReadonlyArray<string>; readonly sit: ReadonlyArray<string> } => {
  const counts = new Map<string, number>()
  const holders = new Map<string, string>()
  for (const { holder, name } of rows) {
    if (holder === undefined) continue
    holders.set(name, holder)
    if (!isSeat(name)) counts.set(holder, (counts.get(holder) ?? 0) + 1)
  }
  const countOf = (process: string) => counts.get(process) ?? 0
  const move = (from: string, to: string): void => {
    counts.set(from, countOf(from) - 1)
    counts.set(to, countOf(to) + 1)
  }
  const leave: Array<string> = []
  const sit: Array<string> = []
  for (const name of members) {
    const holder = holders.get(name)
    const seated = holders.get(seatOf(name))
    if (holder === undefined) continue
    if (holder === process) {
      if (seated === undefined || seated === process || countOf(process) - countOf(seated) < 2) continue
      leave.push(name)
      move(process, seated)
    } else if ((seated === undefined || seated === process) && countOf(holder) - countOf(process) >= 2) {
      sit.push(name)
      move(holder, process)
    }
  }
  return { leave, sit }
}

const rowsOf = (all: ReadonlyArray<Checkpoint>, now: number): ReadonlyArray<Row> =>
  all.map(({ expiresAt, name, owner }) => ({
    name,
    holder: DateTime.toEpochMillis(expiresAt) > now ? Option.getOrUndefined(Option.map(owner, processOf)) : undefined
  }))

const stand = (checkpoints: Checkpoints["Service"], { seats }: Spreading, checkpoint: string) =>
  Effect.suspend(() => {
    const lease = seats.get(checkpoint)
    seats.delete(checkpoint)
    return lease === undefined ? Effect.void : Effect.ignore(checkpoints.remove(lease.name, { force: true }))
  })

/** Looks who holds what, once for all followers of this process. */
const round = Effect.fnUntraced(function* (
  checkpoints: Checkpoints["Service"],
  spreading: Spreading
): Effect.fn.Return<void, CheckpointError> {
  const { members, process, seats } = spreading
  const now = yield* Clock.currentTimeMillis
  const all = Array.from(members.values())
  const shortest = Math.min(...all.map(({ ttl }) => Duration.toMillis(beat(ttl))))
  // Who has everything has time: whoever wants some of it stays seated.
  const pause = all.some(({ standsBy }) => standsBy()) ? 0.5 : 2.5
  if (now - spreading.lookedAt < pause * shortest) return
  spreading.lookedAt = now
  const rows = rowsOf(yield* checkpoints.list, now)
  spreading.held = rows.filter(({ holder, name }) => holder === process && !isSeat(name)).length
  const { leave, sit } = planOf(process, Array.from(members.keys()), rows)
  for (const checkpoint of leave) {
    const member = members.get(checkpoint)
    if (member?.isMovable() === true) member.leave()
  }
  for (const checkpoint of Array.from(seats.keys())) {
    if (!sit.includes(checkpoint)) yield* stand(checkpoints, spreading, checkpoint)
  }
  for (const checkpoint of sit) {
    const { ttl } = members.get(checkpoint) as Member
    const seat = yield* checkpoints
      .claim(seatOf(checkpoint), { owner: `${process}/seat`, ttl })
      .pipe(Effect.catchTag("CheckpointHeldError", () => Effect.undefined))
    if (seat !== undefined) seats.set(checkpoint, seat)
  }
})

/** Runs a follower that ends when its lease is wanted elsewhere, and begins again a while later. */
export const spread = <E>(
  main: Effect.Effect<never, E>,
  checkpoints: Checkpoints["Service"],
  member: Omit<Member, "leave"> & { readonly show: Effect.Effect<void> }
): Effect.Effect<never, E> => {
  // Where all owners live in one process, there is nobody to share with.
  if (checkpoints.keep !== undefined) return main
  const time = Effect.sleep(beat(member.ttl))
  const { checkpoint } = member
  return Effect.gen(function* () {
    const spreading = yield* spreadingOf(checkpoints)
    const told = Latch.makeUnsafe(false)
    const own: Member = { ...member, leave: () => void told.openUnsafe() }
    spreading.members.set(checkpoint, own)
    const turn = Effect.suspend(() => {
      told.closeUnsafe()
      return Effect.raceFirst(main, told.await)
    })
    const running = Effect.forever(turn.pipe(Effect.andThen(member.show), Effect.andThen(time)))
    const looking = Effect.forever(
      Effect.andThen(
        time,
        Effect.catchCause(
          Effect.suspend(() => (spreading.members.size < 2 ? Effect.void : round(checkpoints, spreading))),
          (cause) => Effect.logDebug("eventfold: who follows what cannot be seen", cause)
        )
      )
    )
    return yield* Effect.raceFirst(running, looking).pipe(
      Effect.ensuring(
        Effect.suspend(() => {
          if (spreading.members.get(checkpoint) === own) spreading.members.delete(checkpoint)
          return stand(checkpoints, spreading, checkpoint)
        })
      )
    )
  })
}
