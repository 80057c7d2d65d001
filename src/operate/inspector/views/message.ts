/** What a message is, and where it leads. */
import type { EventRow } from "../../Operations.ts"
import { go } from "../link/place.ts"

/** A record of the message bus: a command, which stands in no stream of the domain. */
export const isCommand = ({ stream }: Pick<EventRow, "stream">): boolean => stream.startsWith("$bus-")

export const open = ({ stream, version }: Pick<EventRow, "stream" | "version">): void =>
  go("streams", { stream, version: String(version) })
