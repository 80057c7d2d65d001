// A process of its own that works on a store. It reads one line of standard input, `[command, store, path, …]`, and does:
//
//   append  <events> <callers> <streams>   appends so many events in all, prints "done" and ends
//   write   <name>                         appends until it is killed, printing the name of each acknowledged append
//   hold                                   opens the store, prints "open" and keeps it open until it is killed
//   follow  <events>                       opens a file of JSON lines for reading and prints the positions of its events
//   advance                                advances a checkpoint in a file of JSON lines until it is killed, printing where it is
//
// It prints "ready" before it reads and "failed: …" when the store fails. Printing is synchronous: what was printed before the
// process was killed has been printed.
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Layer, Stream } from "effect"
import { Checkpoints, EventStore } from "eventfold"
import { JsonlCheckpoints, JsonlEventStore } from "eventfold/jsonl"
import { once } from "node:events"
import { writeSync } from "node:fs"
import { createInterface } from "node:readline"
import { type Embedded, layerOf } from "./embedded.ts"

const print = (line: string) => Effect.sync(() => writeSync(1, `${line}\n`))

const append = (events: number, callers: number, streams: number) =>
  Effect.andThen(
    Effect.forEach(
      Array.from({ length: events }, (_, n) => n),
      (n) => EventStore.append(`Shared-${n % streams}`, [{ type: "Appended", payload: { pid: process.pid, n } }]),
      { concurrency: callers, discard: true }
    ),
    print("done")
  )

/** Appends of one to three events to one or two streams; each event says which append it belongs to, and how large that is. */
const write = (name: string) =>
  Effect.forEach(
    [1, 2, 3, 4, 5, 6, 7, 8],
    (writer) => {
      let n = 0
      return Effect.suspend(() => {
        n++
        const append = `${name}-${writer}-${n}`
        const size = 1 + (n % 3)
        const events = Array.from({ length: size }, (_, index) => ({
          type: "Written",
          id: `${append}-${index}`,
          payload: { append, size, filler: "x".repeat((n * 37) % 400) },
          tags: [`writer:${writer}`]
        }))
        const appends =
          size === 3
            ? [
                { stream: `Writer-${writer}`, events: events.slice(0, 2) },
                { stream: "All-1", events: events.slice(2) }
              ]
            : [{ stream: `Writer-${writer}`, events }]
        return Effect.andThen(EventStore.appendAll(appends), print(append))
      }).pipe(Effect.forever)
    },
    { concurrency: "unbounded", discard: true }
  )

const follow = (path: string, events: number) =>
  EventStore.subscribe().pipe(
    Stream.take(events),
    Stream.runForEach(({ position }) => print(String(position))),
    Effect.provide(Layer.provide(JsonlEventStore.layer({ path, access: "read" }), NodeFileSystem.layer))
  )

const advance = (path: string) =>
  Effect.gen(function* () {
    const { advance, claim } = yield* Checkpoints.Checkpoints
    let lease = yield* claim("mail", { owner: "child", ttl: "1 hour" })
    while (true) {
      lease = yield* advance(lease, lease.position + 1)
      yield* print(String(lease.position))
    }
  }).pipe(Effect.provide(Layer.provide(JsonlCheckpoints.layer({ path }), NodeFileSystem.layer)))

await Effect.runPromise(print("ready"))
const [line] = (await once(createInterface({ input: process.stdin }), "line")) as [string]
const [command, store, path, ...rest] = JSON.parse(line) as [string, Embedded, string, ...ReadonlyArray<string>]
const numbers = rest.map(Number) as [number, number, number]

const work: Effect.Effect<unknown, EventStore.AppendError, EventStore.EventStore> =
  command === "append"
    ? append(...numbers)
    : command === "write"
      ? write(rest[0] ?? "")
      : Effect.andThen(print("open"), Effect.never)
const program: Effect.Effect<unknown, { readonly message: string }> =
  command === "follow"
    ? follow(path, numbers[0])
    : command === "advance"
      ? advance(path)
      : Effect.provide(work, layerOf(store, path))

await Effect.runPromise(Effect.catch(program, (error) => print(`failed: ${error.message}`)))
process.exit()
