/** Forgetting a group: its queue is deleted, unless somebody consumes it. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { onceLeft } from "../transport/kit.ts"
import { GroupInUseError, type Transport, type TransportError } from "../transport/Transport.ts"
import type { Connection } from "./connection.ts"
import type { Topology } from "./topology.ts"

export const makeForget =
  (connect: Effect.Effect<Connection, TransportError, Scope.Scope>, { dropGroup }: Topology): Transport["Service"]["forget"] =>
  (group) =>
    Effect.scoped(
      Effect.flatMap(connect, (connection) =>
        onceLeft(
          Effect.flatMap(dropGroup(connection, group), (outcome) =>
            outcome === "in use"
              ? Effect.fail(new GroupInUseError({ group, detail: "a member consumes its queue" }))
              : Effect.succeed(outcome === "dropped")
          )
        )
      )
    )
