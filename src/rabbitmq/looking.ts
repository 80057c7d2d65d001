/** What can be told of the broker: how much waits for a group, its version, and whether it takes messages. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { finding } from "../transport/kit.ts"
import type { Transport, TransportError } from "../transport/Transport.ts"
import type { Connection } from "./connection.ts"
import type { Topology } from "./topology.ts"

type Connect = Effect.Effect<Connection, TransportError, Scope.Scope>

export const makeWaiting =
  (connect: Connect, { countOf }: Topology): NonNullable<Transport["Service"]["waiting"]> =>
  (group) =>
    Effect.scoped(Effect.flatMap(connect, (connection) => countOf(connection, group)))

export const makeFindings = (
  connect: Connect,
  { hasExchange, unsettled }: Topology
): NonNullable<Transport["Service"]["findings"]> =>
  Effect.scoped(
    Effect.gen(function* () {
      const connection = yield* connect
      const { version = "unknown" } = connection.model.connection.serverProperties
      const [blocked, isThere] = [connection.blocked(), yield* hasExchange(connection)]
      return [
        Number.parseInt(version, 10) >= 4
          ? finding("broker", "ok", `RabbitMQ ${version} answers`)
          : finding("broker", "warning", `RabbitMQ ${version} answers`, "eventfold is tested from RabbitMQ 4 on"),
        blocked === undefined
          ? finding("broker limits", "ok", "the broker takes messages")
          : finding("broker limits", "problem", `the broker takes no messages: ${blocked}`, "give it memory or disk"),
        isThere
          ? finding("broker exchange", "ok", unsettled() ?? "the exchange is there; the queues of groups are quorum queues")
          : finding(
              "broker exchange",
              "problem",
              "the exchange is not there: what is published reaches nobody",
              "make it, or set declare to true"
            )
      ]
    })
  )
