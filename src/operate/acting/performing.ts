/** What each act does, and which process can do it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as Consumer from "../../consuming/Consumer.ts"
import { statusNow } from "../../following/engine.ts"
import { consumerCheckpoint, parseCheckpoint, subscriptionCheckpoint } from "../../following/names.ts"
import * as Relay from "../../following/Relay.ts"
import * as Subscription from "../../following/Subscription.ts"
import * as ProcessManager from "../../processManager/ProcessManager.ts"
import * as Projection from "../../projection/Projection.ts"
import { describe } from "../../sql/errors.ts"
import type { Checkpoint } from "../../store/Checkpoints.ts"
import type { Act } from "../contract/acts.ts"
import { RefusedError } from "../contract/errors.ts"
import { isHere, parkedUnder } from "../look/followers.ts"
import { definitionOf } from "../look/views.ts"
import type { AnyProjection, Parts } from "../parts.ts"

/** How an act is done: in one transaction with its record, or by itself before it is recorded. Says what came of it. */
export interface Performance {
  readonly isTransactional: boolean
  readonly run: (progress: (position: number, target: number) => Effect.Effect<void>) => Effect.Effect<string, RefusedError>
  /** What this process does when that is committed. */
  readonly after?: Effect.Effect<void> | undefined
}

const refuse = (detail: string) => Effect.fail(new RefusedError({ detail }))

const orRefused = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, RefusedError, R> =>
  Effect.mapError(effect, (error) => new RefusedError({ detail: describe(error) }))

/** What it is about, so that two acts about one thing wait for each other. */
export const targetOf = (act: Act): string => {
  switch (act._tag) {
    case "Pause":
    case "Resume":
    case "RemoveFollower":
      return act.follower
    case "Retry":
    case "Discard":
      return `${parkedUnder(act.follower)} #${act.position}`
    case "RetryLetter":
    case "DiscardLetter":
      return `${act.group} ${act.id}`
    case "Rebuild":
    case "Switch":
    case "Drop":
      return `projection ${act.projection}`
    case "RelayAgain":
      return `relay ${act.relay}`
  }
}

/** The checkpoints of a follower: its own, or those of its partitions. */
const rowsOf = ({ checkpoints }: Parts, follower: string): Effect.Effect<ReadonlyArray<Checkpoint>, RefusedError> =>
  Effect.map(orRefused(checkpoints.list), (all) =>
    all.filter(({ name }) => {
      const parsed = parseCheckpoint(name)
      return name === follower || (parsed._tag === "Partition" && subscriptionCheckpoint(parsed.name) === follower)
    })
  )

/** The group of consumers that is meant, where it is one. */
export const consumerIn = (follower: string): string | undefined => {
  const parsed = parseCheckpoint(follower)
  return parsed._tag === "Consumer" ? parsed.group : undefined
}

/** Pauses or resumes: said beside the checkpoint, so that it outlives whoever follows, and to the follower of this process. */
const steer = (parts: Parts, name: string, pause: boolean): Performance => {
  const verb = pause ? "paused" : "resumed"
  const here = Effect.map(parts.followers, (all) => all.get(name))
  return {
    isTransactional: true,
    run: () =>
      Effect.gen(function* () {
        const rows = yield* rowsOf(parts, name)
        const follower = yield* here
        if (rows.length === 0 && follower === undefined) {
          const meant = subscriptionCheckpoint(name)
          const known = (yield* rowsOf(parts, meant)).length > 0
          return yield* refuse(`there is no follower "${name}"${known ? `, but "${meant}"` : ""}`)
        }
        if (rows.length === 0) return yield* refuse(`"${name}" has not begun yet: it has no checkpoint`)
        for (const row of rows) yield* orRefused(parts.checkpoints.pause(row.name, pause))
        return follower === undefined ? `${verb}; no process runs it` : verb
      }),
    after: Effect.flatMap(here, (follower) => (follower === undefined ? Effect.void : pause ? follower.pause : follower.resume))
  }
}

/** Pauses or resumes a group of consumers: said beside the checkpoints for every process, and to the consumers of this one. */
const steerConsumer = (parts: Parts, group: string, pause: boolean): Performance => {
  const verb = pause ? "paused" : "resumed"
  const name = consumerCheckpoint(group)
  const consumes = Effect.map(parts.groups, (groups) => isHere(groups, group))
  return {
    isTransactional: true,
    run: () =>
      Effect.gen(function* () {
        const { get, pause: say, reset } = parts.checkpoints
        if (Option.isNone(yield* orRefused(get(name)))) {
          if (!(yield* consumes) && !(yield* hasLetters(parts, group))) return yield* refuse(`no group "${group}" is known here`)
          // It has no position: what stands there is whether it is paused.
          yield* orRefused(reset(name, 0))
        }
        yield* orRefused(say(name, pause))
        return (yield* consumes) ? verb : `${verb}; this process has no consumers of it`
      }),
    after: steerGroup(parts, group, pause)
  }
}

const hasLetters = ({ letters }: Parts, group: string) =>
  letters === undefined ? Effect.succeed(false) : Effect.map(orRefused(letters.counts), (counts) => counts.has(group))

/** Says it to the consumers that this process has of a group. */
export const steerGroup = (parts: Parts, group: string, pause: boolean): Effect.Effect<void> =>
  provided(parts, pause ? Consumer.pause(group) : Consumer.resume(group)).pipe(
    // It has none of it.
    Effect.catchTag("UnknownGroupError", () => Effect.void)
  )

/** What a projection's handlers want was in the context when operations were provided. */
const provided = <A, E, R>(parts: Parts, effect: Effect.Effect<A, E, R>) =>
  Effect.provideContext(effect, parts.services) as Effect.Effect<A, E>

const retry = (parts: Parts, name: string, position: number): Performance => ({
  isTransactional: false,
  run: () =>
    Effect.gen(function* () {
      const follower = yield* followerParking(parts, name)
      if (follower === undefined || follower.part === "deadlines") return yield* refuse(`this process does not run "${name}"`)
      yield* orRefused<void, Error, never>(follower.retry(position))
      return "handled"
    })
})

/** The follower that this process runs, and that parks under a name, or has it. */
const followerParking = (parts: Parts, name: string) =>
  Effect.map(parts.followers, (all) => {
    const found = all.get(name) ?? all.get(subscriptionCheckpoint(name))
    return found?.isStopped() === false ? found : undefined
  })

const discard = (parts: Parts, name: string, position: number): Performance => ({
  isTransactional: true,
  run: () =>
    Effect.gen(function* () {
      if (parts.parking === undefined) return yield* refuse("operations see no ParkedEvents")
      const done = yield* orRefused(parts.parking.discard(parkedUnder(name), position))
      return done ? "discarded" : yield* refuse(`"${parkedUnder(name)}" has no parked event at position ${position} any more`)
    })
})

const retryLetter = (parts: Parts, group: string, id: string): Performance => ({
  isTransactional: false,
  run: () => Effect.as(orRefused(provided(parts, Consumer.retry(group, id))), "handled")
})

const discardLetter = (parts: Parts, group: string, id: string): Performance => ({
  isTransactional: true,
  run: () =>
    Effect.gen(function* () {
      if (parts.letters === undefined) return yield* refuse("operations see no DeadLetters")
      const done = yield* orRefused(parts.letters.discard(group, id))
      return done ? "discarded" : yield* refuse(`the group "${group}" has no dead letter "${id}" any more`)
    })
})

const rebuild = (parts: Parts, projection: AnyProjection): Performance => ({
  isTransactional: false,
  run: (progress) =>
    Effect.gen(function* () {
      const transactional = parts.sql !== undefined
      const steps = Stream.runFoldEffect(
        Projection.rebuild(projection, { transactional }),
        () => 0,
        (_, { head, position }) => Effect.as(progress(position, head), head)
      )
      const head = yield* orRefused(Effect.scoped(provided(parts, steps)))
      return `rebuilt up to #${head}`
    })
})

const removeFollower = (parts: Parts, name: string): Performance => ({
  isTransactional: true,
  run: () =>
    Effect.gen(function* () {
      const parsed = parseCheckpoint(name)
      const process = /^process:(.+)$/s.exec(parsed._tag === "Subscription" ? parsed.name : "")?.[1]
      const removing =
        process !== undefined
          ? ProcessManager.remove({ name: process })
          : parsed._tag === "Relay"
            ? Relay.remove(parsed.name)
            : parsed._tag === "Subscription"
              ? Subscription.remove(parsed.name)
              : undefined
      if (removing === undefined) return yield* refuse(`"${name}" is no follower that can be removed by itself`)
      const done = yield* orRefused(provided(parts, removing))
      return done ? "removed" : yield* refuse(`there is no follower "${name}"`)
    })
})

const relayAgain = (parts: Parts, relay: string, from: number, to: number): Performance => ({
  isTransactional: false,
  run: (progress) =>
    Effect.gen(function* () {
      const follower = yield* followerParking(parts, `relay:${relay}`)
      if (follower?.part !== "relay") return yield* refuse(`this process does not run the relay "${relay}"`)
      if (from < 1 || to < from) return yield* refuse(`from #${from} to #${to} are no positions of the log in order`)
      const head = yield* orRefused(parts.store.head)
      const end = Math.min(to, head)
      yield* orRefused(Stream.runForEach(follower.again(from, end), (position) => progress(position, end)))
      return `published again from #${from} to #${end}`
    })
})

/** How an act is done. */
export const performanceOf = (parts: Parts, act: Act): Performance => {
  switch (act._tag) {
    case "Pause":
    case "Resume": {
      const group = consumerIn(act.follower)
      const pause = act._tag === "Pause"
      return group === undefined ? steer(parts, act.follower, pause) : steerConsumer(parts, group, pause)
    }
    case "Retry":
      return retry(parts, act.follower, act.position)
    case "Discard":
      return discard(parts, act.follower, act.position)
    case "RetryLetter":
      return retryLetter(parts, act.group, act.id)
    case "DiscardLetter":
      return discardLetter(parts, act.group, act.id)
    case "RemoveFollower":
      return removeFollower(parts, act.follower)
    case "RelayAgain":
      return relayAgain(parts, act.relay, act.from, act.to)
    default: {
      const projection = definitionOf(parts, act.projection, act.version)
      const missing = refuse(`this process knows no version ${act.version} of the projection "${act.projection}"`)
      if (projection === undefined) return { isTransactional: false, run: () => missing }
      if (act._tag === "Rebuild") return rebuild(parts, projection)
      const work =
        act._tag === "Switch"
          ? Effect.as(orRefused(provided(parts, Projection.switchTo(projection))), `readers see version ${act.version}`)
          : Effect.as(orRefused(provided(parts, Projection.drop(projection))), "dropped")
      return { isTransactional: true, run: () => work }
    }
  }
}

/** Whether somebody holds one of the checkpoints, and lives. */
const isHeld = (rows: ReadonlyArray<Checkpoint>, now: number): boolean =>
  rows.some(({ expiresAt, owner }) => Option.isSome(owner) && expiresAt.epochMilliseconds > now)

/**
 * Whether this process is to do it: of what is steered, the one that follows; where none has come forward in half of the time, and nobody
 * follows, any. Groups of consumers nobody holds.
 */
const maySteer = Effect.fnUntraced(function* (parts: Parts, name: string, isHalfLate: boolean) {
  const group = consumerIn(name)
  if (group !== undefined) return isHalfLate || isHere(yield* parts.groups, group)
  const follower = (yield* parts.followers).get(name)
  const isAtWork = follower !== undefined && statusNow(follower).state !== "standby"
  if (isAtWork) return true
  const rows = yield* rowsOf(parts, name)
  const held = isHeld(rows, yield* Clock.currentTimeMillis)
  return follower !== undefined ? !held : isHalfLate && !held
})

/** Whether this process can do an act. */
export const canPerform = (
  parts: Parts,
  act: Act,
  request: { readonly isHalfLate: boolean }
): Effect.Effect<boolean, RefusedError> => {
  switch (act._tag) {
    case "Pause":
    case "Resume":
      return maySteer(parts, act.follower, request.isHalfLate)
    case "Retry":
      return Effect.map(followerParking(parts, act.follower), (found) => found !== undefined)
    case "Discard":
      return Effect.succeed(parts.parking !== undefined)
    case "RetryLetter":
      return Effect.map(parts.groups, (groups) => groups.has(act.group) && parts.letters !== undefined)
    case "DiscardLetter":
      return Effect.succeed(parts.letters !== undefined)
    case "RemoveFollower":
      return Effect.succeed(true)
    case "RelayAgain":
      return Effect.map(followerParking(parts, `relay:${act.relay}`), (found) => found !== undefined)
    default:
      return Effect.succeed(definitionOf(parts, act.projection, act.version) !== undefined)
  }
}

/** The client whose transactions the store and the checkpoints are part of. */
export const clientOf = ({ checkpoints, sql }: Parts): SqlClient.SqlClient | undefined =>
  sql !== undefined && checkpoints.transactionService?.key === sql.transactionService.key ? sql : undefined
