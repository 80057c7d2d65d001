/**
 * The records of a fetch that are messages: no marks of transactions, and nothing of those that were given up.
 *
 * The client leaves out itself what it sees the end of in the same answer. A transaction may be longer than an answer, and a producer may give up
 * several in one.
 */

/** What records of one producer come in. */
export interface Batch<R> {
  readonly attributes: number
  readonly firstOffset: bigint
  readonly lastOffsetDelta: number
  readonly producerId: bigint
  readonly records: ReadonlyArray<R>
}

/** A transaction that was given up, by where it begins. */
export interface Aborted {
  readonly producerId: bigint
  readonly firstOffset: bigint
}

const transactional = 0b01_0000
const control = 0b10_0000

/** The messages of one partition, and the offset behind all that was read. */
export const recordsOf = <R extends { readonly offsetDelta: number }>(
  batches: ReadonlyArray<Batch<R>>,
  aborted: ReadonlyArray<Aborted>
): { readonly records: ReadonlyArray<{ readonly offset: number; readonly record: R }>; readonly next: number } => {
  const records: Array<{ readonly offset: number; readonly record: R }> = []
  const begins = aborted.toSorted((one, other) => Number(one.firstOffset - other.firstOffset))
  /** The producers that are amid one. */
  const givingUp = new Set<bigint>()
  let begun = 0
  let next = -1
  for (const { attributes, firstOffset, lastOffsetDelta, producerId, records: all } of batches) {
    const first = Number(firstOffset)
    next = first + lastOffsetDelta + 1
    for (; begun < begins.length && Number(begins[begun]?.firstOffset) < next; begun++) {
      givingUp.add((begins[begun] as Aborted).producerId)
    }
    // The mark of its end, whichever that is.
    if ((attributes & control) !== 0) givingUp.delete(producerId)
    else if ((attributes & transactional) === 0 || !givingUp.has(producerId)) {
      for (const record of all) records.push({ offset: first + record.offsetDelta, record })
    }
  }
  return { records, next }
}
