import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Context, Effect, Layer } from "effect"
import { EventStore } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { SqliteEventStore } from "eventfold/sqlite"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export type Embedded = "sqlite" | "jsonl"

export const layerOf = (store: Embedded, path: string): Layer.Layer<EventStore.EventStore, EventStore.EventStoreError> =>
  store === "sqlite"
    ? SqliteEventStore.layerFile({ filename: path })
    : Layer.provide(JsonlEventStore.layer({ path }), NodeFileSystem.layer)

/** Opens a store until the scope closes; each time anew. */
export const open = <A, E>(layer: Layer.Layer<A | EventStore.EventStore, E>) =>
  Effect.flatMap(Effect.scope, (scope) =>
    Effect.map(Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope), Context.get(EventStore.EventStore))
  )

/** A real process that works on a store: see embedded-child.ts for what it can do. */
export interface Child {
  readonly process: ChildProcess
  /** The next line that the child prints, `undefined` when it has ended. */
  readonly line: () => Promise<string | undefined>
  /** All lines that the child prints from here until it ends. */
  readonly rest: () => Promise<ReadonlyArray<string>>
  /** Sends the process a signal and waits for its end. */
  readonly kill: (signal?: NodeJS.Signals) => Promise<void>
  /** Lets the child begin: it has loaded all its code before. */
  readonly begin: (...command: ReadonlyArray<string>) => void
}

const script = fileURLToPath(new URL("embedded-child.ts", import.meta.url))

export const startChild = (): Child => {
  const child = spawn(process.execPath, ["--conditions=@eventfold/source", "--no-warnings", script], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const ended = once(child, "close")
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => {
    const next = await lines.next()
    return next.done === true ? undefined : next.value
  }
  return {
    process: child,
    line,
    rest: async () => {
      const rest: Array<string> = []
      for (let next = await line(); next !== undefined; next = await line()) rest.push(next)
      return rest
    },
    kill: async (signal = "SIGKILL") => {
      child.kill(signal)
      await ended
    },
    begin: (...command) => child.stdin.write(`${JSON.stringify(command)}\n`)
  }
}

/** A child for the scope of a test. */
export const child = Effect.acquireRelease(Effect.sync(startChild), (child) => Effect.promise(() => child.kill()))
