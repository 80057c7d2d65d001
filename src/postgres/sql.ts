/** All SQL of the Postgres store, for one set of tables. Each object and each group of statements has a file in `sql/`. */
import { append, appendSeen, createAppend } from "./sql/append.ts"
import { appendOld, grantAsBefore } from "./sql/appendOld.ts"
import { appendEvent, appendEventSeen, createAppendEvent } from "./sql/appendEvent.ts"
import { createEventsStand } from "./sql/eventsStand.ts"
import { createAppendLock } from "./sql/appendLock.ts"
import { appendOne, createAppendOne } from "./sql/appendOne.ts"
import { createFlush, flush, shareFlush, sharesFlush } from "./sql/flush.ts"
import { eventTables } from "./sql/eventTables.ts"
import { headView } from "./sql/headView.ts"
import { newestMatch } from "./sql/newestMatch.ts"
import { createNewestPosition } from "./sql/newestPosition.ts"
import { readBoundary, readNewest } from "./sql/readBoundary.ts"
import { readStreams } from "./sql/readStreams.ts"
import * as reads from "./sql/reads.ts"
import { refuseChange } from "./sql/refuseChange.ts"
import { chain, isChained, linkBefore, links } from "./sql/chain.ts"
import { newestTombstone, tombstone, tombstones } from "./sql/tombstones.ts"
import { type Names, render, renderAll } from "./sql/statement.ts"
import { definerAsBefore } from "./sql/tenantTables.ts"

export type { Names } from "./sql/statement.ts"

const tables = { eventTables, refuseChange }

/** Each is made in place of what an older release has made by its name. */
const functions = {
  newestMatch: [newestMatch],
  newestPosition: [createNewestPosition],
  appendLock: [createAppendLock],
  eventsStand: [createEventsStand],
  append: [createAppend],
  appendEvent: [createAppendEvent],
  appendOne: [createAppendOne],
  appendOld: [appendOld]
}

/** What the store stands on, in the order in which it is made: each needs what comes before it. */
export const storeObjects: Readonly<Record<string, ReadonlyArray<string>>> = {
  ...tables,
  ...functions,
  headView,
  tombstones,
  chain,
  flush: [createFlush]
}

export const makeSql = (names: Names) => ({
  names: {
    schema: names.schema,
    event: render("{event}", names),
    tag: render("{tag}", names)
  },
  channel: render("{channel}head", names),
  createTables: Object.values(tables).flatMap((statements) => statements.map((text) => render(text, names))),
  createFunctions: [...Object.values(functions).flat(), ...headView, grantAsBefore].map((text) => render(text, names)),
  replaceAppends: [createEventsStand, createAppend, createAppendEvent, definerAsBefore].map((text) => render(text, names)),
  createTombstones: tombstones.map((text) => render(text, names)),
  createChain: chain.map((text) => render(text, names)),
  addFlush: [createFlush, createAppendEvent, definerAsBefore].map((text) => render(text, names)),
  ...renderAll(
    {
      append,
      appendEvent,
      appendEventSeen,
      appendSeen,
      appendOne,
      flush,
      isChained,
      linkBefore,
      links,
      newestTombstone,
      readBoundary,
      readNewest,
      readStreams,
      shareFlush,
      sharesFlush,
      tombstone,
      ...reads
    },
    names
  )
})

export type Sql = ReturnType<typeof makeSql>
