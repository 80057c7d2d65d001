/** From what was given on the command line to what answers. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Client } from "./client.ts"
import { NotRegisteredError, type Payloads } from "../operate/Operations.ts"
import { CliFailure, codes, maskedTarget } from "./failure.ts"
import { inTime } from "./globals.ts"
import { hinted, parseTarget, type Target } from "./target.ts"

/** Opens what answers: the handlers in this process, or a client of those of another. */
export class Connect extends Context.Service<
  Connect,
  (target: Target, access: "look" | "act", who?: Who) => Effect.Effect<Client["Service"]["rpcs"], CliFailure, Scope.Scope>
>()("eventfold/cli/Connect") {}

/** For whom a store is opened in this process. Default: the user of this machine, who sees everything. */
export interface Who {
  /** What is recorded as the author of acts. */
  readonly name: string
  readonly payloads: Payloads
}

/** Says who has what a store by itself has not. */
const orWhoHas =
  ({ kind }: Target) =>
  <E>(error: E): E | CliFailure =>
    error instanceof NotRegisteredError && kind !== "http" && kind !== "module"
      ? new CliFailure({
          tag: error._tag,
          code: codes.usage,
          message: `${error.message}. The URL of a store brings no definitions: give the path of a module that exports them, or the address of a running program`
        })
      : error

let acting = 0
/** Whether a verb runs that acts: it comes to its end though nobody reads what it says. */
export const isActing = (): boolean => acting > 0

/** Opens the client of a verb for as long as the verb lasts. One that only looks cannot act, whatever it asks for. */
export const withClient =
  (url: string, access: "look" | "act" = "look", who?: Who) =>
  <A, E, R>(verb: Effect.Effect<A, E, R>) =>
    Effect.scoped(
      Effect.gen(function* () {
        const target = yield* parseTarget(url)
        const name = maskedTarget(url)
        if (access === "act") {
          acting++
          yield* Effect.addFinalizer(() => Effect.sync(() => acting--))
        }
        const connect = yield* Connect
        const rpcs = yield* inTime(name, connect(target, access, who))
        return yield* Effect.mapError(Effect.provideService(verb, Client, { rpcs, name, hint: hinted(url) }), orWhoHas(target))
      })
    )
