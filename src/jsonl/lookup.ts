/**
 * The index of a file in memory: what is looked up in it, in columns.
 *
 * Each event has a row of numbers; its texts are numbered, and kept once. The events of a stream, and those with a tag, are chained from
 * the newest to the oldest.
 */
import { categoryOf, type Metadata } from "../definitions/stored.ts"
import { byCodePoint } from "../internal/order.ts"
import type { Query, StreamInfo } from "../store/EventStore.ts"
import { type Index, type Indexable, infoOf, type Matchable, matches } from "../store/kit/index.ts"
import { Column, makeTextColumns, type TextColumns, Texts } from "./columns.ts"

/** What the index knows of an event: all that a filter looks at, and where its line stands. */
export interface Entry extends Indexable, Matchable {
  readonly offset: number
  /** Bytes, without the newline. */
  readonly length: number
}

/** All that the index is made of, in the order in which it is kept in a file. */
export interface Columns {
  /** Of each event: where its line ends, behind its newline. Lines stand one behind the other. */
  readonly ends: Column
  readonly streams: Column
  readonly versions: Column
  /** Twice the number of its type, and one more if it is published. */
  readonly types: Column
  readonly recorded: Column
  /** The number of its correlation id from 1, 0 for none. */
  readonly correlations: Column
  /** The position of the event before it in its stream, 0 for none. */
  readonly previous: Column
  /** Where its tags end, in the two columns that follow: their numbers, and the positions of the events before it that have them. */
  readonly tagEnds: Column
  readonly tags: Column
  readonly previousTagged: Column
  /** Of each stream, and of each tag: the position of its newest event. */
  readonly newest: Column
  readonly newestTagged: Column
  /** How many events have a tag. */
  readonly tagged: Column
  readonly names: {
    readonly ids: TextColumns
    readonly streams: TextColumns
    readonly types: TextColumns
    readonly tags: TextColumns
    readonly correlations: TextColumns
  }
}

export const makeColumns = (): Columns => ({
  ends: new Column("wide"),
  streams: new Column("whole"),
  versions: new Column("whole"),
  types: new Column("whole"),
  recorded: new Column("wide"),
  correlations: new Column("whole"),
  previous: new Column("whole"),
  tagEnds: new Column("wide"),
  tags: new Column("whole"),
  previousTagged: new Column("whole"),
  newest: new Column("whole"),
  newestTagged: new Column("whole"),
  tagged: new Column("whole"),
  names: {
    ids: makeTextColumns(),
    streams: makeTextColumns(),
    types: makeTextColumns(),
    tags: makeTextColumns(),
    correlations: makeTextColumns()
  }
})

/** The columns in order. */
export const columnsOf = ({ names, ...columns }: Columns): ReadonlyArray<Column> => [
  ...Object.values<Column>(columns),
  ...Object.values<TextColumns>(names).flatMap(({ bytes, ends, places }) => [bytes, ends, places])
]

/** How far behind the newest event of a stream its chain is followed, rather than that its events are listed. */
const longestWalk = 2048

const noTags: ReadonlyArray<string> = []
const noMetadata: Metadata = {}

/** Texts of which few are asked for often: each is made once. */
const remembering = (texts: Texts): ((index: number) => string) => {
  const known: Array<string | undefined> = []
  return (index) => (known[index] ??= texts.at(index))
}

/** The index of a file. */
export interface Lookup extends Index<Entry> {
  /** The event at a position that there is. */
  readonly at: (position: number) => Entry
}

/** The index over columns; those of none are empty ones. */
export const makeLookup = (columns: Columns, seed: number): Lookup => {
  const { correlations, ends, newest, newestTagged, previous, previousTagged, recorded, tagEnds, tagged, tags, types, versions } =
    columns
  const ids = new Texts(columns.names.ids, seed)
  const streamNames = new Texts(columns.names.streams, seed)
  const typeNames = new Texts(columns.names.types, seed)
  const tagNames = new Texts(columns.names.tags, seed)
  const correlationIds = new Texts(columns.names.correlations, seed)
  const [streamAt, typeAt, tagAt] = [remembering(streamNames), remembering(typeNames), remembering(tagNames)]
  /** The positions of streams that were read far from their end, by the number of the stream. */
  const listed = new Map<number, Column>()
  let sorted: ReadonlyArray<string> | undefined // the names of the streams, made when asked for

  /** A row as others see it. Filters look at one after the other with the same object. */
  class Row implements Entry {
    position: number
    constructor(position: number) {
      this.position = position
    }
    get stream() {
      return streamAt(columns.streams.at(this.position - 1))
    }
    get version() {
      return versions.at(this.position - 1)
    }
    get id() {
      return ids.at(this.position - 1)
    }
    get type() {
      return typeAt(types.at(this.position - 1) >>> 1)
    }
    get published() {
      return types.at(this.position - 1) % 2 === 1
    }
    get tags() {
      const [begin, end] = tagsOf(this.position)
      return begin === end ? noTags : Array.from({ length: end - begin }, (_, index) => tagAt(tags.at(begin + index)))
    }
    get metadata() {
      const correlation = correlations.at(this.position - 1)
      return correlation === 0 ? noMetadata : { correlationId: correlationIds.at(correlation - 1) }
    }
    get recordedAt() {
      return recorded.at(this.position - 1)
    }
    get offset() {
      return this.position === 1 ? 0 : ends.at(this.position - 2)
    }
    get length() {
      return ends.at(this.position - 1) - 1 - this.offset
    }
  }

  /** Where the tags of an event begin and end. */
  const tagsOf = (position: number): readonly [begin: number, end: number] => [
    position === 1 ? 0 : tagEnds.at(position - 2),
    tagEnds.at(position - 1)
  ]

  /** The event that has a tag before one that has it, 0 for none. */
  const taggedBefore = (position: number, tag: number): number => {
    const [begin, end] = tagsOf(position)
    for (let index = begin; index < end; index++) if (tags.at(index) === tag) return previousTagged.at(index)
    return 0
  }

  const addTags = (names: ReadonlyArray<string>, position: number) => {
    for (const name of names) {
      const tag = tagNames.intern(name)
      if (tag === newestTagged.length) {
        newestTagged.push(0)
        tagged.push(0)
      }
      tags.push(tag)
      previousTagged.push(newestTagged.at(tag))
      newestTagged.set(tag, position)
      tagged.set(tag, tagged.at(tag) + 1)
    }
    tagEnds.push(tags.length)
  }

  const add = (row: Entry) => {
    const { correlationId } = row.metadata
    ids.add(row.id)
    ends.push(row.offset + row.length + 1)
    const stream = streamNames.intern(row.stream)
    if (stream === newest.length) {
      newest.push(0)
      sorted = undefined
    }
    columns.streams.push(stream)
    versions.push(row.version)
    types.push(typeNames.intern(row.type) * 2 + (row.published ? 1 : 0))
    recorded.push(row.recordedAt)
    correlations.push(correlationId === undefined ? 0 : correlationIds.intern(correlationId) + 1)
    previous.push(newest.at(stream))
    newest.set(stream, row.position)
    addTags(row.tags, row.position)
    listed.get(stream)?.push(row.position)
  }

  /** The positions of a stream, in order. */
  const listOf = (stream: number): Column => {
    const known = listed.get(stream)
    if (known !== undefined) return known
    const last = newest.at(stream)
    const list = new Column("whole", versions.at(last - 1))
    for (let position = last; position > 0; position = previous.at(position - 1)) {
      list.set(versions.at(position - 1) - 1, position)
    }
    listed.set(stream, list)
    return list
  }

  /** The events of a stream whose versions are in `[from, to]`, which there are: the lowest first. */
  const rowsOf = (stream: number, from: number, to: number): Array<Entry> => {
    let position = newest.at(stream)
    const rows: Array<Entry> = Array.from({ length: to - from + 1 })
    if (versions.at(position - 1) - from >= longestWalk) {
      const list = listOf(stream)
      for (let index = 0; index < rows.length; index++) rows[index] = new Row(list.at(from - 1 + index))
      return rows
    }
    while (versions.at(position - 1) > to) position = previous.at(position - 1)
    for (let index = rows.length - 1; index >= 0; index--) {
      rows[index] = new Row(position)
      position = previous.at(position - 1)
    }
    return rows
  }

  /** Whether an event may pass a filter, by the number of its correlation id; `undefined` where none does. */
  const mayPass = (filter: ReadonlyArray<Query>): ((position: number) => boolean) | undefined => {
    if (filter.every(({ types }) => types?.every((type) => typeNames.find(type) === -1))) return undefined
    if (filter.some(({ correlationId }) => correlationId === undefined)) return () => true
    const [only = 0, ...others] = filter
      .map(({ correlationId = "" }) => correlationIds.find(correlationId) + 1)
      .filter((number) => number > 0)
    if (only === 0) return undefined
    return others.length === 0
      ? (position) => correlations.at(position - 1) === only
      : (position) => correlations.at(position - 1) === only || others.includes(correlations.at(position - 1))
  }

  const versionOf = (stream: number): number => (stream === -1 ? 0 : versions.at(newest.at(stream) - 1))

  return {
    at: (position) => new Row(position),
    standing: {
      newest: (stream) => {
        const found = streamNames.find(stream)
        return { version: versionOf(found), position: found === -1 ? 0 : newest.at(found) }
      },
      locate: (id) => {
        const found = ids.find(id)
        return found === -1 ? undefined : new Row(found + 1)
      },
      newestMatch: (filter, after) => {
        let found = after
        const row = new Row(0)
        for (const query of filter) {
          const wanted = (query.tags ?? []).map((tag) => tagNames.find(tag))
          const may = mayPass([query])
          if (wanted.includes(-1) || may === undefined) continue
          // Of its tags the one that the fewest events have.
          const tag = wanted.reduce((best, tag) => (best === -1 || tagged.at(tag) < tagged.at(best) ? tag : best), -1)
          row.position = tag === -1 ? ends.length : newestTagged.at(tag)
          while (row.position > found && !(may(row.position) && matches([query], row))) {
            row.position = tag === -1 ? row.position - 1 : taggedBefore(row.position, tag)
          }
          found = Math.max(found, row.position)
        }
        return found === after ? undefined : found
      },
      get head() {
        return ends.length
      }
    },
    add,
    stream: ({ backward, from, size, stream, to }) => {
      const found = streamNames.find(stream)
      const last = Math.min(to, versionOf(found))
      if (from > last) return []
      return backward
        ? rowsOf(found, Math.max(from, last - size + 1), last).reverse()
        : rowsOf(found, from, Math.min(last, from + size - 1))
    },
    versionAt: (stream, until) => {
      const found = streamNames.find(stream)
      let position = found === -1 ? 0 : newest.at(found)
      while (position > 0 && recorded.at(position - 1) > until) position = previous.at(position - 1)
      return position === 0 ? 0 : versions.at(position - 1)
    },
    all: ({ after, backward, filter, size, upTo }) => {
      const found: Array<Entry> = []
      const row = new Row(0)
      const last = Math.min(upTo, ends.length)
      const may = mayPass(filter)
      for (let step = 0; may !== undefined && step < last - after && found.length < size; step++) {
        row.position = backward ? last - step : after + step + 1
        if (may(row.position) && matches(filter, row)) found.push(new Row(row.position))
      }
      return found
    },
    streams: ({ after, category, size }) => {
      sorted ??= Array.from({ length: newest.length }, (_, stream) => streamAt(stream)).sort(byCodePoint)
      const found: Array<StreamInfo> = []
      for (const stream of sorted) {
        if (found.length === size) break
        if (byCodePoint(stream, after) <= 0 || (category !== undefined && categoryOf(stream) !== category)) continue
        found.push(infoOf(new Row(newest.at(streamNames.find(stream)))))
      }
      return found
    }
  }
}
