/** `npm start -- --inspect`: the shop trades at a gentle rate until it is interrupted, and the inspector shows it. */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, FileSystem, Layer, Path, References, Schedule } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { type Checkpoints, EventStore } from "eventfold"
import { Inspector, Operate } from "eventfold/operate"
import { createServer } from "node:http"
import { Order, Payment, Stock } from "./domain.ts"
import { Fulfilment } from "./fulfilment.ts"
import { executeAll } from "./intake.ts"
import { openingStock } from "./legacy.ts"
import { bold, dim, name, print } from "./terminal.ts"
import * as Tour from "./tour.ts"
import { followers, makeTrade, projections } from "./trading.ts"
import { shop } from "./wiring.ts"

/** What the program tells of itself: by it the inspector knows states, versions of views and the map. */
export const operations = Operate.layer({
  acts: true,
  aggregates: [Order.Order, Payment.Payment, Stock.Stock],
  processes: [Fulfilment],
  projections,
  payloads: "shown"
})

/** Operations and the page on a port of this machine alone. */
export const served = (port: number) =>
  HttpRouter.serve(Layer.mergeAll(operations, Inspector.layer()), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(
      NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1", gracefulShutdownTimeout: "1 second" })
    )
  )

/** Each moment of the week of commands at once: a history to look at. */
const history = Effect.fnUntraced(function* (run: Tour.Run) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* EventStore.appendAll(openingStock(run.prefix))
  const text = yield* fs.readFileString(path.join(import.meta.dirname, "commands.jsonl"))
  yield* executeAll(text, { prefix: run.prefix, onOutcome: () => Effect.void, onConflict: Effect.void })
})

/** In a checkout the page is made of its sources; the package has it built. */
const madePage = Effect.promise(async () => {
  const { build, built } = await import("../../src/operate/inspector/build.ts")
  await build(built)
})

/** Trades, and shows it, until it is interrupted. */
export const inspect = Effect.fnUntraced(function* <E>(
  {
    layer: store,
    place
  }: { readonly layer: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, E>; readonly place: string },
  port: number
) {
  yield* madePage
  yield* print(`${bold("eventfold")}: a shop on ${name(place)}, to be looked at`)
  yield* Effect.gen(function* () {
    const run = yield* Tour.begin
    if (run.number === 1) yield* history(run)
    yield* Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      const at = "port" in address ? address.port : port
      yield* print("", `   ${name(`http://127.0.0.1:${at}/operate/`)}`, "", dim("   It trades until you press Ctrl+C."))
      yield* Effect.repeat(makeTrade(run.prefix), Schedule.spaced("700 millis"))
    }).pipe(Effect.provide(served(port).pipe(Layer.provideMerge(followers))))
  }).pipe(
    Effect.provide(shop(store)),
    // What fails here, fails to be seen on the page.
    Effect.provideService(References.MinimumLogLevel, "Fatal")
  )
})
