import * as Context from "effect/Context"
import { executionKeys } from "./services.ts"
import type { Metadata } from "./stored.ts"

/** What is merged into the metadata of each staged event; public as `UnitOfWork.CurrentMetadata`. */
export const CurrentMetadata = Context.Reference<Metadata>(executionKeys.metadata, { defaultValue: () => ({}) })

/** What a recorded message of the bus was; `answer` is what a command came to. */
export type MessageKind = "command" | "event" | "answer"

/** The metadata that a message of the bus is recorded with: they say which kind it was. Part of the storage format. */
export const recordedMetadata = (metadata: Metadata, kind: MessageKind): Metadata => ({ ...metadata, messageKind: kind })

/** Whether an event in the store is the record of a command. It may be called as an event is. */
export const isRecordOfCommand = (metadata: Metadata): boolean => metadata["messageKind"] === "command"

/** The metadata of an event that tells what the request came to that it was written for. Part of the storage format. */
export const requestKey = "request"

/** What the messages that an event causes inherit of its metadata. */
export const inheritedMetadata = ({ messageKind: _kind, [requestKey]: _request, ...inherited }: Metadata): Metadata => inherited
