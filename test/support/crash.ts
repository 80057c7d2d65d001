import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { EventStore } from "eventfold"
import { type Embedded, layerOf, open, startChild } from "./embedded.ts"
import { temporaryDirectory } from "./files.ts"

/** What the events that a child writes say of their append. */
interface Payload {
  readonly append: string
  readonly size: number
}

/** Goes through the log and checks, event by event, that it is sound and holds whole appends alone. */
const makeAudit = () => {
  const appends = new Map<string, number>()
  const versions = new Map<string, number>()
  let position = 0
  let open: Payload | undefined // an append of which not all events have been seen
  return {
    position: () => position,
    appends: () => new Set(appends.keys()),
    see: (event: EventStore.RecordedEvent) => {
      const { append, size } = event.payload as unknown as Payload
      position++
      assert.equal(event.position, position)
      assert.equal(event.version, (versions.get(event.stream) ?? 0) + 1)
      versions.set(event.stream, event.version)
      if (open !== undefined) assert.equal(append, open.append, "an append is only half there")
      const seen = (appends.get(append) ?? 0) + 1
      appends.set(append, seen)
      open = seen < size ? { append, size } : undefined
    },
    rest: () => assert.equal(open, undefined, "the last append is only half there")
  }
}

const lost = (acknowledged: ReadonlySet<string>, found: ReadonlySet<string>) =>
  Array.from(acknowledged).filter((append) => !found.has(append))

const rounds = 50

/** Kills a process that appends, again and again, at any moment: while it opens the store, while it writes, while it waits. */
export const survivesKills = (store: Embedded): void => {
  describe(`kill -9, ${rounds} times`, () => {
    it.live(
      "loses nothing acknowledged, leaves nothing half written, and the store opens again",
      () =>
        Effect.gen(function* () {
          const path = join(yield* temporaryDirectory, "events")
          const layer = layerOf(store, path)
          const acknowledged = new Set<string>()
          const audit = makeAudit()
          let next = startChild()
          yield* Effect.addFinalizer(() => Effect.promise(() => next.kill()))
          for (let round = 1; round <= rounds; round++) {
            const child = next
            next = startChild() // loads its code meanwhile
            yield* Effect.promise(async () => {
              assert.equal(await child.line(), "ready")
              child.begin("write", store, path, `${round}`)
              // One in five is killed as it opens the store; the others as they append.
              const first = round % 5 === 0 ? undefined : await child.line()
              await new Promise((resolve) => setTimeout(resolve, Math.random() * 60))
              const rest = child.rest()
              await child.kill()
              for (const line of [...(first === undefined ? [] : [first]), ...(await rest)]) {
                assert.doesNotMatch(line, /^failed/)
                acknowledged.add(line)
              }
            })
            yield* Effect.scoped(
              Effect.gen(function* () {
                const opened = yield* open(layer)
                yield* Stream.runForEach(opened.readAll({ after: audit.position() }), (event) =>
                  Effect.sync(() => audit.see(event))
                )
                audit.rest()
                assert.equal(yield* opened.head, audit.position())
              })
            )
            assert.deepEqual(lost(acknowledged, audit.appends()), [], `round ${round} lost what was acknowledged`)
          }
          assert.ok(acknowledged.size > rounds, `only ${acknowledged.size} appends were acknowledged`)

          // Once more from the beginning: what earlier rounds have seen is still there.
          const again = makeAudit()
          yield* Effect.scoped(
            Effect.flatMap(open(layer), (opened) =>
              Stream.runForEach(opened.readAll(), (event) => Effect.sync(() => again.see(event)))
            )
          )
          assert.equal(again.position(), audit.position())
          assert.deepEqual(lost(acknowledged, again.appends()), [])
        }),
      120_000
    )
  })
}
