/**
 * What an index of many events is made of: numbers and texts one after the other, outside of the heap of JavaScript. They take no object
 * an event, and stand in a file as they stand in memory.
 */

type Numbers = Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>

/** Bytes, whole numbers below 2³², and whole numbers that are safe. */
export type Kind = "byte" | "whole" | "wide"

const makeNumbers: Readonly<Record<Kind, (capacity: number) => Numbers>> = {
  byte: (capacity) => new Uint8Array(capacity),
  whole: (capacity) => new Uint32Array(capacity),
  wide: (capacity) => new Float64Array(capacity)
}

/** How many bytes a number of a kind takes. */
export const sizeOf = { byte: 1, whole: 4, wide: 8 } as const

/** Room for so many, and for an eighth more: what has just been made does not grow at once. */
const roomFor = (length: number): number => Math.max(64, length + Math.ceil(length / 8))

/** Numbers of one kind. It grows; pages of memory that nothing stands in are not taken. */
export class Column {
  readonly kind: Kind
  length: number
  private numbers: Numbers
  /** Of zeros. */
  constructor(kind: Kind, length = 0) {
    this.kind = kind
    this.length = length
    this.numbers = makeNumbers[kind](roomFor(length))
  }
  /** So many zeros in place of what there is. */
  clear(length: number): void {
    this.length = length
    this.numbers = makeNumbers[this.kind](roomFor(length))
  }
  at(index: number): number {
    return this.numbers[index] ?? 0
  }
  set(index: number, number: number): void {
    this.numbers[index] = number
  }
  push(number: number): void {
    this.reserve(1)
    this.numbers[this.length++] = number
  }
  /** Makes room for so many more. */
  reserve(more: number): void {
    if (this.length + more <= this.numbers.length) return
    const larger = makeNumbers[this.kind](Math.max(this.length + more, this.length + Math.ceil(this.length / 2)))
    larger.set(this.numbers.subarray(0, this.length))
    this.numbers = larger
  }
  /** Its numbers as bytes, which change with them; until it grows. */
  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.numbers.buffer, 0, this.length * sizeOf[this.kind])
  }
  /** All that it has room for, as bytes; until it grows. */
  room(): Buffer<ArrayBuffer> {
    return Buffer.from(this.numbers.buffer)
  }
}

/** How full the table gets in which texts are looked up. */
const fullest = 0.7

/** The columns of {@link Texts}. */
export interface TextColumns {
  /** The texts in UTF-8. */
  readonly bytes: Column
  /** Where each ends. */
  readonly ends: Column
  /** A hash table with as many places as a power of two: the number of a text from 1, or 0 where a place is free. */
  readonly places: Column
}

export const makeTextColumns = (): TextColumns => ({
  bytes: new Column("byte"),
  ends: new Column("wide"),
  places: new Column("whole", 64)
})

/** Texts, numbered from 0, that can be looked up. All must be well-formed. */
export class Texts {
  private readonly columns: TextColumns
  private readonly seed: number
  private buffer: Buffer
  /** `seed` makes it hard to guess which texts come to stand in one place. */
  constructor(columns: TextColumns, seed: number) {
    this.columns = columns
    this.seed = seed
    this.buffer = columns.bytes.room()
  }

  get length(): number {
    return this.columns.ends.length
  }

  at(index: number): string {
    const { ends } = this.columns
    return this.buffer.toString("utf8", index === 0 ? 0 : ends.at(index - 1), ends.at(index))
  }

  /** The number of a text, -1 if it is not there. */
  find(text: string): number {
    return this.findWritten(this.write(text))
  }

  /** The number of a text, which is added if it is not there. */
  intern(text: string): number {
    const size = this.write(text)
    const found = this.findWritten(size)
    return found === -1 ? this.keep(size) : found
  }

  /** Adds a text. */
  add(text: string): number {
    return this.keep(this.write(text))
  }

  /** Writes a text behind all others, without keeping it. Returns its size. */
  private write(text: string): number {
    const { bytes } = this.columns
    const most = text.length * 3
    if (bytes.length + most > this.buffer.length) {
      bytes.reserve(most)
      this.buffer = bytes.room()
    }
    return this.buffer.write(text, bytes.length)
  }

  /** Keeps what was written last. */
  private keep(size: number): number {
    const { bytes, ends } = this.columns
    const index = ends.length
    const begin = bytes.length
    bytes.length = begin + size
    ends.push(bytes.length)
    if (ends.length > this.columns.places.length * fullest) this.rehash()
    else this.place(index, this.hash(begin, bytes.length))
    return index
  }

  private findWritten(size: number): number {
    const { bytes, ends, places } = this.columns
    const begin = bytes.length
    const mask = places.length - 1
    for (let place = this.hash(begin, begin + size) & mask; ; place = (place + 1) & mask) {
      const index = places.at(place) - 1
      if (index === -1) return -1
      const start = index === 0 ? 0 : ends.at(index - 1)
      if (ends.at(index) - start === size && this.areEqual(start, begin, size)) return index
    }
  }

  private areEqual(one: number, other: number, size: number): boolean {
    const { buffer } = this
    for (let n = 0; n < size; n++) if (buffer[one + n] !== buffer[other + n]) return false
    return true
  }

  /** Of a part of the bytes: FNV-1a, mixed once more at its end, for places are told by the lowest bits. */
  private hash(begin: number, end: number): number {
    const { buffer } = this
    let hash = this.seed | 0
    for (let at = begin; at < end; at++) hash = Math.imul(hash ^ (buffer[at] ?? 0), 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    return (hash ^ (hash >>> 13)) >>> 0
  }

  private place(index: number, hash: number): void {
    const { places } = this.columns
    const mask = places.length - 1
    let place = hash & mask
    while (places.at(place) !== 0) place = (place + 1) & mask
    places.set(place, index + 1)
  }

  private rehash(): void {
    const { ends, places } = this.columns
    places.clear(places.length * 2)
    for (let index = 0, begin = 0; index < ends.length; index++) {
      const end = ends.at(index)
      this.place(index, this.hash(begin, end))
      begin = end
    }
  }
}
