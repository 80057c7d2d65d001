/** `inspect`: the operations of a store over HTTP, for this machine alone. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { Payloads } from "../../operate/Operations.ts"
import { usage, withoutPasswords } from "../failure.ts"
import { inTime, wholeFlag } from "../globals.ts"
import { loadModule } from "../modules.ts"
import { print } from "../output/write.ts"
import { orUnreachable, type Services, storeLayer } from "../stores.ts"
import { parseTarget, type TargetParam } from "../target.ts"

const nothing = { aggregates: [], processes: [], projections: [] }

export const inspect = (url: TargetParam) =>
  Command.make(
    "inspect",
    {
      url,
      port: wholeFlag("port").pipe(
        Flag.filter(
          (number) => number <= 65_535,
          () => "a port, from 0 to 65535"
        ),
        Flag.withDescription("The port on loopback; 0 is any that is free (default: 4455)"),
        Flag.withDefault(4455)
      ),
      acts: Flag.Boolean("allow-acts").pipe(
        Flag.withDescription("Lets whoever uses this machine act, too"),
        Flag.withDefault(false)
      ),
      payloads: Flag.Literals("payloads", Payloads.literals).pipe(
        Flag.withDescription("How much of payloads is shown (default: masked)"),
        Flag.withDefault("masked" as const)
      )
    },
    ({ acts, payloads, port, url }) =>
      Effect.gen(function* () {
        const target = yield* parseTarget(url)
        if (target.kind === "http") return yield* usage("A running program serves its own: open its address in a browser.")
        const module = target.kind === "module" ? yield* inTime(target.url, loadModule(target.url)) : undefined
        const services = module === undefined ? yield* storeLayer(target, acts ? "act" : "look") : yield* module.layer
        const [{ Inspector, Operate }, NodeHttpServer] = yield* Effect.promise(() =>
          Promise.all([import("../../operate/index.ts"), import("@effect/platform-node/NodeHttpServer")])
        )
        const { aggregates, processes, projections } = module ?? nothing
        const operations = Operate.layer({ aggregates, processes, projections, acts, payloads }) as Layer.Layer<
          never,
          unknown,
          HttpRouter.HttpRouter | Services
        >
        const server = HttpRouter.serve(Layer.merge(operations, Inspector.layer()), {
          disableLogger: true,
          disableListenLog: true
        }).pipe(
          Layer.provideMerge(
            NodeHttpServer.layer(createServer, { host: "127.0.0.1", port, websocket: { maxPayload: 1024 * 1024 } })
          ),
          Layer.provide(services)
        )
        const context = yield* inTime(withoutPasswords(url), Layer.build(orUnreachable(server)))
        const { address } = yield* Effect.provideContext(HttpServer.HttpServer, context)
        const served = HttpServer.formatAddress(address)
        yield* print(`${served}/operate/`)
        return yield* Effect.never
      }).pipe(Effect.scoped)
  ).pipe(
    Command.withDescription("Serves the inspector and the operations of a store, to this machine alone, until it is interrupted")
  )
