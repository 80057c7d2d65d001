import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import {
  type AppendError,
  type AppendResult,
  decide,
  matchesPrepared,
  type PreparedAppend,
  type Standing
} from "../EventStore.ts"
import type { Submitted } from "./groupCommit.ts"

/** An append on its way to the writer. */
export type AppendRequest = Submitted<PreparedAppend, ReadonlyArray<AppendResult>, AppendError>

/** The verdict on one append of a batch. */
export type Verdict = Exit.Exit<ReadonlyArray<AppendResult>, AppendError>

/** An event with its place. */
export type Write = Result.Result.Success<ReturnType<typeof decide>>["writes"][number]

/** The most appends on their way at once: beyond it, callers wait. */
export const capacity = 8192

const largestBatch = 512
const batchBytes = 4 * 1024 * 1024

/** How many of the waiting appends make a batch: so many that the commit is paid back, so few that the first need not wait. */
export const batchSize = (waiting: ReadonlyArray<AppendRequest>): number => {
  let bytes = 0
  let size = 0
  for (const { request } of waiting) {
    bytes += request.bytes
    if (size > 0 && (size === largestBatch || bytes > batchBytes)) break
    size++
  }
  return size
}

/**
 * Decides the appends of a batch one after the other: each sees what stands in the store and what the accepted ones before it
 * will have written.
 */
export const makeBatch = (base: Standing) => {
  const writes: Array<Write> = []
  const byStream = new Map<string, Write>()
  const byId = new Map<string, Write>()
  const standing: Standing = {
    newest: (stream) => byStream.get(stream) ?? base.newest(stream),
    locate: (id) => byId.get(id) ?? base.locate(id),
    newestMatch: (filter, after) =>
      writes.findLast(({ event, position, stream }) => position > after && matchesPrepared(filter, { ...event, stream }))
        ?.position ?? base.newestMatch(filter, after),
    get head() {
      return base.head + writes.length
    }
  }
  return {
    /** What is to be written, in position order. */
    writes,
    decide: (append: PreparedAppend): Verdict => {
      const verdict = decide(append, standing)
      if (Result.isFailure(verdict)) return Exit.fail(verdict.failure)
      for (const write of verdict.success.writes) {
        writes.push(write)
        byStream.set(write.stream, write)
        byId.set(write.event.id, write)
      }
      return Exit.succeed(verdict.success.results)
    }
  }
}
