/**
 * Cuts a list into pieces that keep its order: none has more items than `maxItems`, and none more bytes than `maxBytes` unless it
 * is a single item.
 *
 * @category encoding
 * @since 0.2.0
 */
export const batchesOf = <A>(
  items: ReadonlyArray<A>,
  options: {
    /** The size of an item in bytes. */
    readonly sizeOf: (item: A) => number
    /** The most items of a piece. */
    readonly maxItems: number
    /** The most bytes of a piece. */
    readonly maxBytes: number
  }
): ReadonlyArray<ReadonlyArray<A>> => {
  const batches: Array<Array<A>> = []
  let room = 0
  for (const item of items) {
    const size = options.sizeOf(item)
    const last = batches.at(-1)
    if (last !== undefined && size <= room && last.length < options.maxItems) {
      last.push(item)
      room -= size
    } else {
      batches.push([item])
      room = options.maxBytes - size
    }
  }
  return batches
}
