/**
 * What a member of a Kafka group knows of one partition: what has been fetched and not handed out, what is in hand, and how far the group
 * may be said to have come. Kafka keeps one number for it, the offset before which everything is done with.
 */

/** A record of the partition, from being handed out until it is done with. */
export interface Held<R> {
  readonly offset: number
  readonly record: R
  /** How often it has been handed out. */
  attempt: number
  /** Whether anybody has looked at it, since it was handed out. */
  seen: boolean
}

/** A record that has been fetched. */
export interface Fetched<R> {
  readonly offset: number
  readonly size: number
  readonly record: R
}

/** How much waits for a member before no more is fetched. */
const enough = { items: 500, bytes: 2 * 1024 * 1024 }

export class Window<R> {
  /** The offset from which on the broker is asked. */
  next: number
  /** What has been committed. */
  committed: number
  /** Until when nothing is handed out, in milliseconds. */
  pausedUntil = -Infinity
  private queue: Array<Fetched<R>> = []
  private head = 0
  private bytes = 0
  /** Handed out and not done with, by offset: in ascending order, for they are handed out in it. */
  private readonly open = new Map<number, Held<R>>()
  /** Those of them that are to be handed out again. */
  private again: Array<Held<R>> = []

  /** How far beyond the oldest that is not done with anything may be handed out. */
  private readonly reach: number

  constructor(start: number, reach: number) {
    this.reach = reach
    this.next = start
    this.committed = start
  }

  /** Whether more shall be fetched. */
  get wants(): boolean {
    return this.queue.length - this.head < enough.items && this.bytes < enough.bytes
  }

  /** Takes what has been fetched, without what it knows, and says from where to go on. */
  take(records: ReadonlyArray<Fetched<R>>, next: number): void {
    for (const record of records) {
      if (record.offset < this.next) continue
      this.queue.push(record)
      this.bytes += record.size
    }
    if (next > this.next) this.next = next
  }

  /** What would be handed out now: first what comes again, in its order. */
  peek(now: number): { readonly offset: number; readonly record: R } | undefined {
    if (now < this.pausedUntil) return undefined
    const [again] = this.again
    if (again !== undefined) return again
    const fetched = this.queue[this.head]
    if (fetched === undefined) return undefined
    const oldest = this.oldest()
    return oldest !== undefined && fetched.offset - oldest >= this.reach ? undefined : fetched
  }

  /** Hands out what {@link peek} has shown. `before` is how often it had been before it came here. */
  give(before: number): Held<R> | undefined {
    const again = this.again.shift()
    if (again !== undefined) {
      again.attempt++
      again.seen = false
      return again
    }
    const fetched = this.shift()
    if (fetched === undefined) return undefined
    const { offset, record } = fetched
    const held = { offset, record, attempt: before + 1, seen: false }
    this.open.set(offset, held)
    return held
  }

  /** Passes over what {@link peek} has shown: it is done with. */
  pass(): void {
    const again = this.again.shift()
    if (again !== undefined) this.open.delete(again.offset)
    else this.shift()
  }

  /** Whether it is one of those that have been handed out and are not done with. */
  has(held: Held<R>): boolean {
    return this.open.get(held.offset) === held
  }

  /** It is done with. */
  done({ offset }: Held<R>): void {
    this.open.delete(offset)
  }

  /** It comes again, before what is newer. */
  giveBack(held: Held<R>): void {
    const place = this.again.findIndex(({ offset }) => offset > held.offset)
    this.again.splice(place === -1 ? this.again.length : place, 0, held)
  }

  /** Everything before this offset is done with. */
  get position(): number {
    return this.oldest() ?? this.queue[this.head]?.offset ?? this.next
  }

  private oldest(): number | undefined {
    for (const offset of this.open.keys()) return offset
    return undefined
  }

  private shift(): Fetched<R> | undefined {
    const fetched = this.queue[this.head]
    if (fetched === undefined) return undefined
    this.head++
    this.bytes -= fetched.size
    if (this.head > 1024 && this.head * 2 > this.queue.length) {
      this.queue = this.queue.slice(this.head)
      this.head = 0
    }
    return fetched
  }
}
