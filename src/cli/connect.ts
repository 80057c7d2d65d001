/** From what was given on the command line to what answers. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Client } from "./client.ts"
import { type CliFailure, withoutPasswords } from "./failure.ts"
import { inTime } from "./globals.ts"
import { hinted, parseTarget, type Target } from "./target.ts"

/** Opens what answers: the handlers in this process, or a client of those of another. */
export class Connect extends Context.Service<
  Connect,
  (target: Target, access: "look" | "act") => Effect.Effect<Client["Service"]["rpcs"], CliFailure, Scope.Scope>
>()("eventfold/cli/Connect") {}

/** Opens the client of a verb for as long as the verb lasts. One that only looks cannot act, whatever it asks for. */
export const withClient =
  (url: string, access: "look" | "act" = "look") =>
  <A, E, R>(verb: Effect.Effect<A, E, R>) =>
    Effect.scoped(
      Effect.gen(function* () {
        const target = yield* parseTarget(url)
        const name = withoutPasswords(url)
        const connect = yield* Connect
        const rpcs = yield* inTime(name, connect(target, access))
        return yield* Effect.provideService(verb, Client, { rpcs, name, hint: hinted(url) })
      })
    )
