/** Which of the waiting appends may go into one statement. */
import type { PreparedAppend } from "../../store/kit/index.ts"

/** A batch of more bytes than this is not made larger. */
const maxBatchBytes = 4 * 1024 * 1024

/** Whether all ids of the append are new to the batch. */
const add = ({ appends, count }: PreparedAppend, ids: Set<string>): boolean => {
  const before = ids.size
  for (const { events } of appends) for (const { id } of events) ids.add(id)
  return ids.size - before === count
}

/** How many of the waiting appends may go into one statement: the oldest, as long as no id comes twice. */
export const takeBatch = (waiting: ReadonlyArray<{ readonly request: PreparedAppend }>, most: number): number => {
  const ids = new Set<string>()
  let bytes = 0
  let size = 0
  for (const { request } of waiting) {
    if (size > 0 && (size >= most || bytes + request.bytes > maxBatchBytes)) break
    if (!add(request, ids) && size > 0) break
    bytes += request.bytes
    size++
  }
  return size
}
