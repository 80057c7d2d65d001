/** Events, filters and payloads of every kind. */
import type * as Schema from "effect/Schema"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { event, untyped } from "./words.ts"

/** Eight events that differ in all that a query can ask for. */
export const variety: ReadonlyArray<EventStore.StreamAppend> = [
  { stream: "Account-1", events: [event({ type: "Opened", published: true, tags: ["a"], metadata: { correlationId: "x" } })] },
  { stream: "Account-1", events: [event({ type: "Paid", tags: ["a", "b"] })] },
  {
    stream: "Account-2",
    events: [event({ type: "Opened", tags: ["b", "c", "a"], metadata: { correlationId: "y", other: "x" } })]
  },
  { stream: "Order-1", events: [event({ type: "Opened", published: true })] },
  { stream: "Order-1", events: [event({ type: "Paid", tags: ["c"], metadata: { correlationId: "x", causationId: "y" } })] },
  { stream: "Order", events: [event({ type: "paid", tags: ["A"] })] },
  { stream: "Orders-1", events: [event({ type: "Closed", published: true, tags: ["a", "c"], metadata: { causationId: "x" } })] },
  { stream: "Account-1-1", events: [event({ type: "Closed", tags: ["ab"] })] }
]

export const filters: ReadonlyArray<readonly [filter: EventStore.Filter, positions: ReadonlyArray<number>]> = [
  [{}, range(1, 8)],
  [[{}], range(1, 8)],
  [[], []],
  [{ types: ["Opened"] }, [1, 3, 4]],
  [{ types: ["Paid", "Closed"] }, [2, 5, 7, 8]],
  [{ types: ["Absent"] }, []],
  [{ types: [] }, []],
  [{ categories: ["Account"] }, [1, 2, 3, 8]],
  [{ categories: ["Order"] }, [4, 5, 6]],
  [{ categories: ["Orders", "Account"] }, [1, 2, 3, 7, 8]],
  [{ categories: ["Account-1"] }, []],
  [{ categories: [] }, []],
  [{ tags: ["a"] }, [1, 2, 3, 7]],
  [{ tags: ["a", "c"] }, [3, 7]],
  [{ tags: ["c", "a"] }, [3, 7]],
  [{ tags: ["a", "a"] }, [1, 2, 3, 7]],
  [{ tags: ["a", "b", "c"] }, [3]],
  [{ tags: ["a", "absent"] }, []],
  [{ tags: [] }, range(1, 8)],
  [{ published: true }, [1, 4, 7]],
  [{ published: false }, [2, 3, 5, 6, 8]],
  [{ correlationId: "x" }, [1, 5]],
  [{ correlationId: "absent" }, []],
  [{ types: ["Opened"], tags: ["a"] }, [1, 3]],
  [{ types: ["Opened"], categories: ["Order"] }, [4]],
  [{ types: ["Opened", "Closed"], categories: ["Account"], published: false, tags: ["b"] }, [3]],
  [{ correlationId: "x", published: false }, [5]],
  [{ types: ["Opened"], categories: ["Orders"] }, []],
  [
    [{ types: ["Paid"] }, { tags: ["ab"] }],
    [2, 5, 8]
  ],
  [
    [{ types: ["Opened"] }, { tags: ["a"] }],
    [1, 2, 3, 4, 7]
  ],
  [
    [{ tags: ["a"] }, { tags: ["c"] }],
    [1, 2, 3, 5, 7]
  ],
  [
    [{ types: ["Opened"], categories: ["Order"] }, { correlationId: "y" }, { types: ["Absent"] }],
    [3, 4]
  ],
  [[{ types: [] }, { categories: ["Orders"] }], [7]],
  [[{ types: ["Absent"] }, {}], range(1, 8)]
]

const deep = (levels: number): Schema.Json =>
  levels === 0 ? "bottom" : levels % 2 === 0 ? { inner: deep(levels - 1) } : [deep(levels - 1)]

export const payloads: ReadonlyArray<Schema.Json> = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1.5,
  0.1 + 0.2,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
  2 ** 60 + 2 ** 8,
  1e21,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  "",
  " ",
  "text",
  "null",
  "Gr\u00fc\u00dfe, \u4e16\u754c \u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u{1f3fd} e\u0301 \u0001 \u001f \u007f \u2028 \u2029 \ufeff \uffff \u{10ffff}",
  "quotes ' \" ` back\\slash \\u0000 \\n new\nline \r\n tab\t $1 %s {} []",
  [],
  {},
  [[]],
  [null, [], {}, "", 0, false],
  [1, "a", { b: [2, { c: null }] }],
  { z: 1, a: 2, M: 3, "\u00e9": 4, "": 5, " ": 6 },
  { a: {}, b: [], c: null, d: "", e: 0, f: false },
  { "2": "b", "1": "a", "-1": "c", "01": "d" },
  { 'quote"': 1, "back\\slash": 2, "new\nline": 3, "a.b": 4, $type: 5, "\u{1f600}": 6 },
  JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":1},"toString":"x","hasOwnProperty":null,"length":3}'),
  { when: "2024-02-29T12:00:00.000Z", big: "12345678901234567890", bytes: "AAEC" },
  deep(500),
  Object.fromEntries(range(1, 1000).map((n) => [`key${(n * 7919) % 1000}`, n]))
]

/** What is no name of a stream, a type or a tag. */
export const badNames: ReadonlyArray<readonly [what: string, name: string]> = [
  ["empty", ""],
  ["256 characters", "n".repeat(256)],
  ["U+0000", "a\u0000b"],
  ["a high surrogate alone", "a\ud800"],
  ["a low surrogate alone", "\udc00a"],
  ["undefined", untyped(undefined)],
  ["a number", untyped(42)]
]

/** What is no version, position or number of events. */
export const badCounts = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, untyped<number>("1")]
