/** Forgetting a group: the brokers delete it, unless it has members. */
import * as Effect from "effect/Effect"
import { onceLeft } from "../transport/kit.ts"
import { GroupInUseError, type Transport } from "../transport/Transport.ts"
import { type Connection, says } from "./connection.ts"
import { groupId } from "./group.ts"
import type { Topic } from "./topic.ts"

export const makeForget =
  ({ ask }: Connection, { admin, name }: Topic, forgotten: (group: string) => void): Transport["Service"]["forget"] =>
  (group) => {
    const drop = ask("forget", async () => {
      try {
        await admin.deleteGroups({ groups: [groupId(name, group)] })
        return "dropped" as const
      } catch (cause) {
        if (says(cause, "GROUP_ID_NOT_FOUND")) return "unknown" as const
        if (says(cause, "NON_EMPTY_GROUP")) return "in use" as const
        throw cause
      }
    })
    return onceLeft(
      Effect.flatMap(drop, (outcome) =>
        outcome === "in use"
          ? Effect.fail(new GroupInUseError({ group, detail: "it has members" }))
          : Effect.sync(() => {
              forgotten(group)
              return outcome === "dropped"
            })
      )
    )
  }
