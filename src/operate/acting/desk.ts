/**
 * Where acts are asked for and done: whoever asks watches a request until it is done, and whoever can do it takes it. Both may be one
 * process, or two.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Latch from "effect/Latch"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { makeEpisodes } from "../../internal/episodes.ts"
import { makeId } from "../../internal/ids.ts"
import { textFault } from "../../internal/json.ts"
import { describe } from "../../sql/errors.ts"
import { inBackground, tellFailure } from "../../sql/reasons.ts"
import { storable } from "../../sql/table.ts"
import { inTransaction, shortPatience } from "../../sql/transaction.ts"
import type { Act, ActStep } from "../contract/acts.ts"
import { InvalidRequestError, NobodyTookError, RefusedError, type UnavailableError } from "../contract/errors.ts"
import { type Parts, unavailable } from "../parts.ts"
import { canPerform, clientOf, consumerIn, performanceOf, steerGroup, targetOf } from "./performing.ts"
import { record, type Recorded, recordOf } from "./recording.ts"
import { leaseTime, type Requests, type Standing, type Turn } from "./requests.ts"

/** What an operator asks for. */
export interface Asked {
  readonly id: string
  readonly act: Act
  readonly by: string
  readonly reason?: string | undefined
  readonly within?: number | undefined
}

type AskError = UnavailableError | InvalidRequestError | RefusedError | NobodyTookError

/** Where acts are asked for. */
export interface Desk {
  readonly ask: (asked: Asked) => Stream.Stream<ActStep, AskError>
  readonly requests: Requests<unknown>
}

/** The longest text of an act: a name, or a reason. */
const longestText = 2000

/** How long an act may wait to be taken, in milliseconds: by default and at most. */
const [usualWait, longestWait] = [10_000, 600_000]

/** How often an act is begun that cannot be brought to its end, as when its record cannot be written. */
const mostTurns = 5

/** How often whoever asks looks what has become of it, where others may have changed it, in milliseconds: sooner at first. */
const looked = 250

/** How often whoever has begun an act looks for the next, in milliseconds, and how many times: who acts on many things asks for one after the other. */
const soon = 50
const mostSoon = 20

/** What came between: the turn is another's. */
class Superseded {
  readonly _tag = "Superseded"
}

/** What is said of one whose process has ended, and that no other can do. */
const abandoned =
  "the process that had taken it ended before it was done, and no other could go on with it: look how far it came, and ask again"

/** What is said of one that has ended every process, or failed in every one, that has begun it. */
const hopeless = `it was begun ${mostTurns} times, and never came to its end`

const refusalOf = (outcome: string) => new RefusedError({ detail: outcome })

/** What the record of an act says to whoever asks for it once more. */
const replayed = ({ id, outcome, owner, state }: Recorded): Stream.Stream<ActStep, RefusedError> =>
  state === "refused"
    ? Stream.fail(refusalOf(outcome))
    : Stream.make<ReadonlyArray<ActStep>>({ _tag: "Asked", id }, { _tag: "Taken", id, owner }, { _tag: "Done", id, outcome })

/** What is new of a request. */
const stepsBetween = (before: Standing | undefined, now: Standing): ReadonlyArray<ActStep> => {
  const { end, id, owner, progress } = now
  return [
    ...(before === undefined ? [{ _tag: "Asked", id } as const] : []),
    ...(owner !== undefined && owner !== before?.owner ? [{ _tag: "Taken", id, owner } as const] : []),
    ...(progress !== undefined && progress.position !== before?.progress?.position
      ? [{ _tag: "Progress", id, ...progress } as const]
      : []),
    ...(end?.state === "done" ? [{ _tag: "Done", id, outcome: end.outcome } as const] : [])
  ]
}

/** In one transaction, where there are any. */
const makeTogether = (parts: Parts) => {
  const client = clientOf(parts)
  return <A, E>(work: Effect.Effect<A, E>) => (client === undefined ? work : inTransaction(client, work, shortPatience))
}

/** Where its record cannot be written, what is refused ends all the same; then the log is where it stands. */
const unrecorded = (id: string, error: unknown) =>
  tellFailure(Effect.logError, `eventfold: the act "${id}" has ended without its record`, Cause.fail(error))

/** Ends what nobody will bring to its end. Whether it did. */
const makeGiveUp = (parts: Parts, requests: Requests<unknown>) => {
  const together = makeTogether(parts)
  return (request: Standing): Effect.Effect<boolean, unknown> => {
    const { id, owner } = request
    if (owner === undefined) return requests.giveUp(id, { state: "nobody", outcome: "" })
    const end = { state: "refused", outcome: abandoned } as const
    const recorded = Effect.tap(requests.giveUp(id, end), (did) => (did ? record(parts, request, owner, end) : Effect.void))
    return Effect.catch(together(recorded), (error) => Effect.andThen(unrecorded(id, error), requests.giveUp(id, end)))
  }
}

/** Whether nobody will do it any more: its time to be taken has run out, or whoever had taken it has long been silent. */
const isOver = ({ end, isAbandoned, isLate, owner }: Standing): boolean =>
  end === undefined && (owner === undefined ? isLate : isAbandoned)

/** Does one request, in its turn. */
const makePerform = (parts: Parts, requests: Requests<unknown>, changed: Effect.Effect<void>, again: () => void) => {
  const together = makeTogether(parts)
  /** Ends it, with its record, where it is still this one's turn. */
  const finish = (request: Standing, turn: Turn, end: { readonly state: "done" | "refused"; readonly outcome: string }) =>
    Effect.gen(function* () {
      const recorded = record(parts, request, turn.owner, { ...end, outcome: storable(end.outcome) })
      // Where nothing is taken back, what cannot be recorded has not ended.
      if (clientOf(parts) === undefined) yield* recorded
      if (!(yield* requests.finish(turn, end))) return yield* Effect.fail(new Superseded())
      if (clientOf(parts) !== undefined) yield* recorded
    })
  /** Refuses it, with its record; without, where that cannot be written: else it would be under way for ever. */
  const refuse = (request: Standing, turn: Turn, outcome: string) => {
    const end = { state: "refused", outcome } as const
    return Effect.catch(together(finish(request, turn, end)), (error) =>
      Effect.andThen(unrecorded(request.id, error), Effect.asVoid(requests.finish(turn, end)))
    )
  }
  const perform = Effect.fnUntraced(function* (request: Standing, turn: Turn) {
    if (turn.turn > mostTurns) return yield* refuse(request, turn, hopeless)
    const { after, isTransactional, run } = performanceOf(parts, request.act)
    let progress: Standing["progress"]
    // Where it cannot be renewed it goes on: whether another has it by then is said when the requests answer again.
    const renewed = Effect.suspend(() => Effect.orElseSucceed(requests.renew(turn, progress), () => true))
    const tell = (position: number, target: number) =>
      Effect.sync(() => void (progress = { position, target })).pipe(Effect.andThen(renewed), Effect.andThen(changed))
    const renewing = Effect.sleep(leaseTime / 3).pipe(
      Effect.andThen(renewed),
      Effect.flatMap((isMine) => (isMine ? Effect.void : Effect.fail(new Superseded()))),
      Effect.forever
    )
    const done = (outcome: string) => finish(request, turn, { state: "done", outcome })
    const work = isTransactional
      ? together(Effect.flatMap(run(tell), done))
      : Effect.flatMap(run(tell), (outcome) => together(done(outcome)))
    yield* Effect.raceFirst(work, renewing).pipe(
      Effect.catchIf(
        (error): error is RefusedError => error instanceof RefusedError,
        ({ message }) => together(finish(request, turn, { state: "refused", outcome: message }))
      )
    )
    if (after !== undefined) yield* after
  })
  const failed = (request: Standing, turn: Turn, error: unknown) =>
    Effect.logWarning(`eventfold: the act "${request.id}" could not be done (${describe(error)})`).pipe(
      Effect.andThen(turn.turn < mostTurns ? requests.release(turn) : refuse(request, turn, describe(error))),
      // Its lease runs out, and whoever takes it next looks after it.
      Effect.catch((error) => Effect.logDebug(`eventfold: the act "${request.id}" could not be given back`, error)),
      Effect.andThen(Effect.sync(again))
    )
  return (request: Standing, turn: Turn) =>
    perform(request, turn).pipe(
      Effect.catchCause((cause) => {
        const error = Cause.squash(cause)
        return error instanceof Superseded
          ? Effect.logDebug(`eventfold: the act "${request.id}" was done by another process`)
          : failed(request, turn, error)
      }),
      // Whoever can go on with it may do so at once; where that cannot be said, when the lease has run out.
      Effect.onInterrupt(() =>
        Effect.catch(requests.release(turn), (error) =>
          Effect.logDebug(`eventfold: the act "${request.id}" could not be given back`, error)
        )
      ),
      Effect.andThen(changed)
    )
}

/** Follows what other processes have paused or resumed: each of them has a follower of its own. */
const makeSteering = (parts: Parts) => {
  const heard = new Set<string>()
  return Effect.fnUntraced(function* (requests: ReadonlyArray<Standing>, own: ReadonlySet<string>) {
    for (const { act, end, id } of requests) {
      if ((act._tag !== "Pause" && act._tag !== "Resume") || end?.state !== "done" || heard.has(id)) continue
      heard.add(id)
      if (own.has(id)) continue
      const isPause = act._tag === "Pause"
      const group = consumerIn(act.follower)
      const follower = (yield* parts.followers).get(act.follower)
      if (group !== undefined) yield* Effect.forkChild(steerGroup(parts, group, isPause))
      else if (follower !== undefined) yield* Effect.forkChild(isPause ? follower.pause : follower.resume)
    }
    const current = new Set(requests.map(({ id }) => id))
    for (const id of heard) if (!current.has(id)) heard.delete(id)
  })
}

/** Takes what this process can do, and does it. */
const work = Effect.fnUntraced(function* (
  parts: Parts,
  requests: Requests<unknown>,
  owner: string,
  asked: Latch.Latch,
  changed: Effect.Effect<void>
) {
  const perform = makePerform(parts, requests, changed, () => asked.openUnsafe())
  const giveUp = makeGiveUp(parts, requests)
  const steering = makeSteering(parts)
  const underWay = yield* FiberMap.make<string>()
  const own = new Set<string>()
  /** How many looks are still to come soon. */
  let hurried = 0
  const takeAll = Effect.gen(function* () {
    const current = yield* requests.current
    yield* steering(current, own)
    for (const request of current) {
      if (request.end !== undefined || FiberMap.hasUnsafe(underWay, request.id)) continue
      // Another about the same thing may wait for it; and who has asked may be gone.
      if (isOver(request) && (yield* giveUp(request))) continue
      if (!(yield* canPerform(parts, request.act, request))) continue
      const turn = yield* requests.take(request.id, owner)
      if (turn === undefined) continue
      own.add(request.id)
      hurried = mostSoon
      yield* FiberMap.run(underWay, request.id, perform(request, turn))
    }
    const known = new Set(current.map(({ id }) => id))
    for (const id of own) if (!known.has(id)) own.delete(id)
  })
  const looking = inBackground(makeEpisodes("the look for acts"), "eventfold: acts could not be looked for, and wait")
  const { looked } = requests
  const rest =
    looked === undefined
      ? asked.await
      : Effect.suspend(() => Effect.timeoutOption(asked.await, Duration.millis(hurried-- > 0 ? soon : looked)))
  return yield* Effect.forever(
    Effect.gen(function* () {
      yield* rest
      asked.closeUnsafe()
      yield* looking(takeAll)
    })
  )
})

/** Watches a request until it is done. */
const watch = (
  parts: Parts,
  requests: Requests<unknown>,
  id: string,
  changes: PubSub.PubSub<void>
): Stream.Stream<ActStep, AskError> =>
  Stream.unwrap(
    Effect.map(PubSub.subscribe(changes), (subscription) => {
      const giveUp = makeGiveUp(parts, requests)
      let wait = soon / 4
      const time =
        requests.looked === undefined ? Effect.never : Effect.suspend(() => Effect.sleep((wait = Math.min(looked, 2 * wait))))
      const next = Effect.raceFirst(PubSub.take(subscription), time)
      let before: Standing | undefined
      const look = Effect.gen(function* () {
        const now = yield* Effect.mapError(requests.get(id), unavailable)
        // Cleaned up behind whoever did it: the record stays.
        if (now === undefined) return yield* lost(parts, id)
        if (isOver(now) && (yield* Effect.mapError(giveUp(now), unavailable))) {
          return yield* now.owner === undefined ? nobody : refusalOf(abandoned)
        }
        const steps = stepsBetween(before, now)
        before = now
        if (now.end?.state === "refused") return yield* refusalOf(now.end.outcome)
        if (now.end?.state === "nobody") return yield* nobody
        return { steps, ended: now.end !== undefined }
      })
      return Stream.unfold<"first" | "next" | "over", ReadonlyArray<ActStep>, AskError, never>("first", (state) =>
        Effect.gen(function* () {
          if (state === "over") return undefined
          if (state === "next") yield* next
          const { ended, steps } = yield* look
          return [steps, ended ? "over" : "next"] as const
        })
      ).pipe(Stream.flattenIterable)
    })
  )

const lost = Effect.fnUntraced(function* (parts: Parts, id: string) {
  const recorded = yield* Effect.mapError(recordOf(parts, id), unavailable)
  if (recorded === undefined) return yield* nobody
  if (recorded.state === "refused") return yield* refusalOf(recorded.outcome)
  return { steps: [{ _tag: "Done", id, outcome: recorded.outcome } as const], ended: true }
})

const nobody = Effect.fail(
  new NobodyTookError({
    detail:
      "no process took it in time: none that runs what it is about, and has operations that may act, was there. It will not be done later: start one, and ask again"
  })
)

const checked = ({ act, by, id, reason = "", within = usualWait }: Asked): Effect.Effect<number, InvalidRequestError> => {
  const texts = [by, reason, ...Object.values(act)].filter((value) => typeof value === "string")
  const problem =
    id.length < 1 || id.length > 200 || !/^[\x21-\x7e]+$/.test(id)
      ? "id must have 1 to 200 printable characters of ASCII, and no space"
      : within < 1 || within > longestWait
        ? `within must be from 1 to ${longestWait} milliseconds, not ${within}`
        : texts.some((text) => text.length > longestText || textFault(text) !== undefined)
          ? `a text of an act has at most ${longestText} characters, no U+0000 and no half of a surrogate pair`
          : undefined
  return problem === undefined ? Effect.succeed(within) : Effect.fail(new InvalidRequestError({ detail: problem }))
}

/** A desk, at which this process works until the scope closes. */
export const makeDesk = Effect.fnUntraced(function* (
  parts: Parts,
  requests: Requests<unknown>
): Effect.fn.Return<Desk, never, Scope.Scope> {
  const owner = yield* makeId
  // Open at first: another process may have left something.
  const news = Latch.makeUnsafe(true)
  const changes = yield* PubSub.sliding<void>(1)
  const changed = Effect.asVoid(PubSub.publish(changes, undefined))
  yield* Effect.forkScoped(work(parts, requests, owner, news, changed))
  const ask = (asked: Asked): Stream.Stream<ActStep, AskError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const within = yield* checked(asked)
        const before = yield* Effect.mapError(recordOf(parts, asked.id), unavailable)
        if (before !== undefined) return replayed(before)
        const { act, by, id, reason } = asked
        yield* Effect.mapError(requests.put({ id, act, by, reason, target: targetOf(act) }, within), unavailable)
        news.openUnsafe()
        // Where nothing else changes, the time that it has to be taken runs out all the same.
        yield* Effect.forkScoped(
          Effect.andThen(
            Effect.sleep(within / 2 + 1),
            Effect.sync(() => news.openUnsafe())
          )
        )
        yield* Effect.forkScoped(Effect.andThen(Effect.sleep(within + 1), changed))
        return watch(parts, requests, id, changes)
      })
    )
  return { ask, requests }
})
