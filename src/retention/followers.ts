/** Who still has to see what would be removed. */
import * as Effect from "effect/Effect"
import { parseCheckpoint, projectionName, subscriptionCheckpoint } from "../following/names.ts"
import type { Checkpoints } from "../store/Checkpoints.ts"
import type { ParkedEvents } from "../store/ParkedEvents.ts"
import { RetentionFailed } from "./model.ts"

/** What is asked of those who follow. */
export interface Followers {
  readonly checkpoints: Checkpoints["Service"]
  readonly parked: ParkedEvents["Service"] | undefined
}

const failed = (what: string) => (cause: { readonly message: string }) =>
  new RetentionFailed({ problem: `${what}: ${cause.message}`, cause })

/** The name under which a follower parks events. */
const parkedUnder = (checkpoint: string): string => {
  const parsed = parseCheckpoint(checkpoint)
  return parsed._tag === "Subscription" || parsed._tag === "Partition" ? parsed.name : checkpoint
}

/**
 * The checkpoints that stand before a position, whoever holds them or nobody; the versions of projections that have not begun; and followers that
 * have parked an event of these streams.
 */
export const behind = Effect.fnUntraced(function* (
  { checkpoints, parked }: Followers,
  position: number,
  streams: ReadonlySet<string>
): Effect.fn.Return<ReadonlyArray<string>, RetentionFailed> {
  const known = (yield* Effect.mapError(checkpoints.list, failed("the checkpoints cannot be listed"))).filter(
    ({ name }) => parseCheckpoint(name)._tag !== "Seat"
  )
  const versions = yield* Effect.mapError(checkpoints.versions.list(), failed("the projections cannot be listed"))
  const names = new Set(known.map(({ name }) => name))
  const notBegun = versions
    .filter(({ mode }) => mode === "async")
    .map(({ projection, version }) => subscriptionCheckpoint(projectionName(projection, version)))
    .filter((name) => !names.has(name) && !known.some((other) => other.name.startsWith(`${name}:`)))
  const late = known.filter((checkpoint) => checkpoint.position < position).map(({ name }) => name)
  const parking = new Set(known.map(({ name }) => parkedUnder(name)))
  const parkers: Array<string> = []
  if (parked !== undefined) {
    for (const name of parking) {
      let after = 0
      while (after < position) {
        const page = yield* Effect.mapError(
          parked.list(name, { after, limit: 1000 }),
          failed("the parked events cannot be listed")
        )
        if (page.some((event) => event.position <= position && streams.has(event.stream))) {
          parkers.push(`the parked events of ${name}`)
          break
        }
        const last = page.at(-1)
        if (last === undefined || page.length < 1000) break
        after = last.position
      }
    }
  }
  return [...late, ...notBegun, ...parkers].sort()
})

/** The categories of the streams of process managers that have run. */
export const processCategories = ({ checkpoints }: Followers): Effect.Effect<ReadonlySet<string>, RetentionFailed> =>
  Effect.map(
    Effect.mapError(checkpoints.list, failed("the checkpoints cannot be listed")),
    (known) =>
      new Set(
        known.flatMap(({ name }) => {
          const parsed = parseCheckpoint(name)
          if (parsed._tag === "Deadlines") return [parsed.process]
          return (parsed._tag === "Subscription" || parsed._tag === "Partition") && parsed.name.startsWith("process:")
            ? [parsed.name.slice("process:".length)]
            : []
        })
      )
  )
