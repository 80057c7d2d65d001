/** Followers over time: one look a second while anybody watches, however many that are, and none otherwise. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as RcRef from "effect/RcRef"
import * as Stream from "effect/Stream"
import type { UnavailableError } from "../contract/errors.ts"
import type { Follower } from "../contract/followers.ts"
import type { Parts } from "../parts.ts"
import { followersNow, type Moment } from "./followers.ts"

/** How many samples are kept, and how far apart they are, in milliseconds. */
const [kept, apart] = [60, 1000]

/** What is known of one over time. */
interface History {
  readonly lags: ReadonlyArray<number>
  readonly positions: ReadonlyArray<readonly [at: number, position: number]>
  readonly state: Follower["state"]
  readonly since: DateTime.Utc | undefined
}

/** How far back the rate looks, in samples. */
const rated = 10

const rateOf = ({ positions }: History): number => {
  const recent = positions.slice(-rated)
  const [first, last] = [recent[0], recent.at(-1)]
  if (first === undefined || last === undefined || last[0] <= first[0]) return 0
  return Math.max(0, Math.round(((last[1] - first[1]) * 10_000) / (last[0] - first[0])) / 10)
}

const remember = (before: History | undefined, moment: Moment, now: number): History => ({
  lags: [...(before?.lags ?? []), moment.lag].slice(-kept),
  positions: [...(before?.positions ?? []), [now, moment.position] as const].slice(-kept),
  state: moment.state,
  // Since when it is what it was when it was first looked at, nobody here has seen.
  since: before === undefined ? moment.movedAt : before.state === moment.state ? before.since : DateTime.makeUnsafe(now)
})

const show = ({ failure, movedAt: _movedAt, ...moment }: Moment, history: History): Follower => ({
  ...moment,
  lags: history.lags,
  rate: rateOf(history),
  since: history.since ?? null,
  failure: failure === undefined ? null : { ...failure, since: failure.since ?? history.since ?? DateTime.makeUnsafe(0) }
})

type Sample = ReadonlyArray<Follower>

/** Looks once, and remembers: what is older than a minute is forgotten. */
const makeLook = (parts: Parts): Effect.Effect<Sample, UnavailableError> => {
  const histories = new Map<string, History>()
  let last = 0
  return Effect.map(followersNow(parts), ({ moments, now }) => {
    if (now - last > kept * apart) histories.clear()
    last = now
    const names = new Set(moments.map(({ name }) => name))
    for (const name of histories.keys()) if (!names.has(name)) histories.delete(name)
    return moments.map((moment) => {
      const history = remember(histories.get(moment.name), moment, now)
      histories.set(moment.name, history)
      return show(moment, history)
    })
  })
}

/** Followers, at once and then at intervals. */
export interface Sampler {
  readonly once: Effect.Effect<Sample, UnavailableError>
  readonly every: (milliseconds: number) => Stream.Stream<Sample, UnavailableError>
}

/** The sampler of a server. */
export const makeSampler = Effect.fnUntraced(function* (parts: Parts) {
  const look = makeLook(parts)
  const shared = yield* RcRef.make({
    acquire: Effect.gen(function* () {
      const samples = yield* PubSub.sliding<Effect.Effect<Sample, UnavailableError>>({ capacity: 1, replay: 1 })
      const sampling = Effect.flatMap(Effect.exit(look), (exit) => PubSub.publish(samples, exit))
      yield* sampling
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(apart), sampling)))
      return samples
    })
  })
  const sampler: Sampler = {
    once: Effect.suspend(() => makeLook(parts)),
    every: (milliseconds) =>
      Stream.unwrap(
        Effect.map(RcRef.get(shared), (samples) => {
          const each = Stream.mapEffect(Stream.fromPubSub(samples), (sample) => sample)
          const every = Math.max(1, Math.round(milliseconds / apart))
          return every === 1 ? each : Stream.filter(each, makeEvery(every))
        })
      )
  }
  return sampler
})

/** The first, and then each n-th. */
const makeEvery = (n: number) => {
  let count = -1
  return () => ++count % n === 0
}
