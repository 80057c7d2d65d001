import assert from "node:assert/strict"
import { describe, it } from "vitest"
import { recordsOf } from "../../src/kafka/records.ts"

/** A batch at an offset, with so many records. */
const batch = (firstOffset: number, count: number, producer = -1, attributes = producer === -1 ? 0 : 0b01_0000) => ({
  attributes,
  firstOffset: BigInt(firstOffset),
  lastOffsetDelta: count - 1,
  producerId: BigInt(producer),
  records: Array.from({ length: count }, (_, offsetDelta) => ({ offsetDelta }))
})
const end = (offset: number, producer: number) => batch(offset, 1, producer, 0b11_0000)
const gaveUp = (producer: number, offset: number) => ({ producerId: BigInt(producer), firstOffset: BigInt(offset) })

const read = (batches: Parameters<typeof recordsOf>[0], aborted: Parameters<typeof recordsOf>[1] = []) => {
  const { next, records } = recordsOf(batches, aborted)
  return [...records.map(({ offset }) => offset), "next", next]
}

describe("what is fetched of a partition", () => {
  it("is messages but for the marks of transactions", () => {
    assert.deepEqual(read([batch(5, 2), batch(7, 1, 1), end(8, 1), batch(9, 1)]), [5, 6, 7, 9, "next", 10])
    assert.deepEqual(read([]), ["next", -1])
    // What a topic has compacted keeps its offsets.
    assert.deepEqual(read([{ ...batch(5, 0), lastOffsetDelta: 3 }]), ["next", 9])
  })

  it("has nothing of a transaction that was given up, whether it begins before, or ends behind what is read", () => {
    const mixed = [
      batch(0, 1, 1),
      batch(1, 1, 2),
      batch(2, 1),
      batch(3, 1, 1),
      end(4, 1),
      batch(5, 1, 2),
      end(6, 2),
      batch(7, 1, 1)
    ]
    assert.deepEqual(read(mixed, [gaveUp(1, 0)]), [1, 2, 5, 7, "next", 8])
    assert.deepEqual(read(mixed.slice(3), [gaveUp(1, 0)]), [5, 7, "next", 8])
    assert.deepEqual(read(mixed.slice(0, 4), [gaveUp(1, 0)]), [1, 2, "next", 4])
  })

  it("has nothing of several that one producer has given up, and all that it has not", () => {
    const all = [batch(0, 1, 1), end(1, 1), batch(2, 1, 1), end(3, 1), batch(4, 1, 1), end(5, 1)]
    assert.deepEqual(read(all, [gaveUp(1, 4), gaveUp(1, 0)]), [2, "next", 6])
  })
})
