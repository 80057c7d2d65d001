/** `mcp`: the operations as tools of an agent, over stdin and stdout. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Client } from "../client.ts"
import { Payloads } from "../../operate/Operations.ts"
import { withClient } from "../connect.ts"
import { Timeout } from "../globals.ts"
import { layer as rpcLines } from "../rpcLines.ts"
import type { TargetParam } from "../target.ts"

export const mcp = (url: TargetParam, version: string) =>
  Command.make(
    "mcp",
    {
      url,
      acts: Flag.Boolean("allow-acts").pipe(
        Flag.withDescription("Lets the agent act, too: pause, resume, retry, discard, rebuild, switch, drop"),
        Flag.withDefault(false)
      ),
      payloads: Flag.Literals("payloads", Payloads.literals).pipe(
        Flag.withDescription("How much of payloads the agent sees; of a running program, what its token says (default: masked)"),
        Flag.withDefault("masked" as const)
      )
    },
    ({ acts, payloads, url }) =>
      Effect.gen(function* () {
        const { rpcs } = yield* Client
        const [McpProtocol, McpServer, { register }] = yield* Effect.promise(() =>
          Promise.all([
            import("effect/ai/McpProtocol"),
            import("effect/ai/McpServer"),
            import("../../operate/agents/registering.ts")
          ])
        )
        const server = McpServer.layerStdio({
          name: "eventfold",
          version,
          protocols: [McpProtocol.v2025_11_25, McpProtocol.v2025_06_18],
          instructions: "Looks at an event store and at what follows it. Ask overview first.",
          registrations: register(rpcs, acts, yield* Timeout)
        }).pipe(Layer.provide(rpcLines))
        // The end of stdin interrupts the fiber of the server: it is the end of the work, and no failure.
        const exit = yield* Effect.flatMap(Effect.forkChild(Layer.launch(server)), Fiber.await)
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) yield* Effect.failCause(exit.cause)
      }).pipe(withClient(url, acts ? "act" : "look", { name: "agent", payloads }))
  ).pipe(
    Command.withDescription("Serves an agent over stdin and stdout (Model Context Protocol): looks only, unless acts are allowed")
  )
