import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Option, type Scope, Stream } from "effect"
import { type Checkpoints, type EventStore } from "eventfold"
import { type Child, event, until } from "../postgres/harness.ts"
import { numbers } from "./words.ts"

/** A store with a view that would show what is applied twice, and processes that follow it. */
export interface World {
  readonly store: EventStore.EventStore["Service"]
  readonly checkpoints: Checkpoints.Checkpoints["Service"]
  /** Starts a process that follows the log, alone or as a member of a group. */
  readonly follower: (name: string, partitions?: number) => Effect.Effect<Child, never, Scope.Scope>
  /** The rows of the view: the positions in the order in which they were written, as often as they were. */
  readonly view: Effect.Effect<ReadonlyArray<number>, unknown>
}

export const applied = ({ view }: World, count: number) =>
  until(
    `${count} events are in the view`,
    Effect.map(Effect.orDie(view), (rows) => rows.length >= count)
  )

const append = ({ store }: World, count: number) =>
  store.append(
    "Count-1",
    Array.from({ length: count }, () => event())
  )

/** Waits until this is how many partitions the process holds. */
const holds = (child: Child, count: number) =>
  until(
    `it holds ${count} partitions`,
    Effect.sync(() => child.lines.findLast((line) => line.startsWith("holds ")) === `holds ${count}`)
  )

/** Stops it while no statement runs. */
const stop = (child: Child) =>
  Effect.andThen(
    Effect.sync(() => child.process.kill("SIGUSR2")),
    child.says("stops")
  )

const handled = (child: Child) => child.lines.filter((line) => line.startsWith("at ")).length

/** Real processes that share a subscription: killed, and stopped past their lease. */
export const followsInProcesses = (
  world: (test: (world: World) => Effect.Effect<void, unknown, Scope.Scope>) => Effect.Effect<void, unknown>
): void => {
  describe("two processes of one name", () => {
    it.live(
      "the owner is killed in the midst of its work: the other takes over, nothing is lost, nothing applied twice",
      () =>
        world((world) =>
          Effect.gen(function* () {
            const first = yield* world.follower("first")
            yield* first.says("live")
            const second = yield* world.follower("second")
            yield* second.says("standby")
            yield* append(world, 500)
            yield* first.says("at 100")
            yield* first.kill
            yield* append(world, 50)
            yield* applied(world, 550)
            yield* second.says("live")
            assert.deepEqual(yield* world.view, numbers(550))
            yield* second.end
            const { owner, position } = Option.getOrThrow(yield* world.checkpoints.get("subscription:view"))
            assert.deepEqual([position, owner], [550, Option.none()])
          })
        ),
      120_000
    )

    it.live(
      "the owner stops between two batches: the other takes over, and the first stands by when it goes on",
      () =>
        world((world) =>
          Effect.gen(function* () {
            const first = yield* world.follower("first")
            const second = yield* world.follower("second")
            yield* append(world, 20)
            yield* applied(world, 20)
            yield* until(
              "all of it has been said",
              Effect.sync(() => handled(first) + handled(second) >= 20)
            )
            const owner = handled(first) > 0 ? first : second
            const other = owner === first ? second : first
            yield* other.says("standby")
            yield* stop(owner)
            yield* append(world, 20)
            yield* applied(world, 40)
            owner.process.kill("SIGCONT")
            yield* owner.says("standby")
            yield* append(world, 20)
            yield* applied(world, 60)
            assert.deepEqual(yield* world.view, numbers(60))
            // The view shows it before the process has said so.
            yield* until(
              "the other has handled both",
              Effect.sync(() => handled(other) >= 40)
            )
            yield* first.end
            yield* second.end
          })
        ),
      120_000
    )
  })

  describe("three processes of one group", () => {
    it.live(
      "one is killed, one stops past its lease: nothing is lost or applied twice, and each stream stays in order",
      () =>
        world((world) =>
          Effect.gen(function* () {
            let written = 0
            const append = (count: number) =>
              Effect.forEach(
                Array.from({ length: count / 20 }),
                () =>
                  world.store.appendAll(numbers(20).map((n) => ({ stream: `Count-${(written + n) % 60}`, events: [event()] }))),
                { discard: true }
              ).pipe(Effect.tap(() => Effect.sync(() => (written += count))))

            const first = yield* world.follower("first", 6)
            yield* holds(first, 6)
            yield* append(200)
            const second = yield* world.follower("second", 6)
            yield* holds(second, 3)
            yield* holds(first, 3)
            const third = yield* world.follower("third", 6)
            yield* holds(third, 2)
            yield* append(600)
            yield* until(
              "the second is in the midst of its work",
              Effect.sync(() => handled(second) > 20)
            )
            yield* second.kill
            yield* append(200)
            yield* holds(first, 3)
            yield* holds(third, 3)
            yield* applied(world, written)
            yield* stop(third)
            yield* append(200)
            yield* holds(first, 6)
            yield* applied(world, written)
            third.process.kill("SIGCONT")
            yield* holds(third, 3)
            yield* holds(first, 3)
            yield* append(200)
            yield* applied(world, written)

            const view = yield* world.view
            assert.deepEqual(
              view.toSorted((a, b) => a - b),
              numbers(written)
            )
            const events = yield* Stream.runCollect(world.store.readAll())
            const streams = Map.groupBy(view, (position) => events[position - 1]?.stream)
            for (const positions of streams.values()) {
              assert.deepEqual(
                positions,
                positions.toSorted((a, b) => a - b)
              )
            }
            for (const child of [first, second, third]) assert.ok(handled(child) > 20)
            yield* first.end
            yield* third.end
            const left = (yield* world.checkpoints.list).filter(({ owner }) => Option.isSome(owner))
            assert.deepEqual(
              left.map(({ name }) => name),
              []
            )
          })
        ),
      120_000
    )
  })
}
