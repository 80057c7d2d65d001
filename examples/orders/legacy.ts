/** The stock that the shop's first version left behind: events at schema version 1, imported as they stood. */
import { DateTime } from "effect"
import { EventStore } from "eventfold"

const pieces = {
  "mug-blue": 40,
  "mug-red": 25,
  teapot: 12,
  kettle: 8,
  "tea-assam-250g": 60,
  "tea-sencha-100g": 45,
  "tea-earl-grey-250g": 50,
  "tea-rooibos-250g": 30,
  infuser: 35,
  "honey-500g": 24,
  "gift-box": 40,
  "tea-tower": 3
}

const recordedAt = DateTime.makeUnsafe("2025-08-29T17:00:00Z")

/** Each article's first event, as version 1 of `StockReceived` was: `pieces`, and no supplier. */
export const openingStock = (prefix: string): ReadonlyArray<EventStore.StreamAppend> =>
  Object.entries(pieces).map(([article, pieces]) => ({
    stream: EventStore.streamName("Stock", prefix + article),
    events: [{ type: "StockReceived", schemaVersion: 1, payload: { sku: prefix + article, pieces }, recordedAt }],
    expected: EventStore.ExpectedVersion.NoStream
  }))
