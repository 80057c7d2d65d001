import { describe, expect, it } from "vitest"
import { areaPoints, linePoints, rateOf, rateText } from "../../src/operate/inspector/pure/chart.ts"
import { difference, gist, most, readable, same, tally } from "../../src/operate/inspector/pure/diff.ts"
import { boxOf, lineOf, places, type State, ways } from "../../src/operate/inspector/pure/machine.ts"
import { formatRoute, parseRoute } from "../../src/operate/inspector/pure/route.ts"
import { rowWindow, scrollFor, versionWindow } from "../../src/operate/inspector/pure/rows.ts"
import { brief, bytes, categoryOf, idOf, plain, short } from "../../src/operate/inspector/pure/text.ts"
import { ago, dayAndTime, gap, instantOf } from "../../src/operate/inspector/pure/time.ts"
import { timeline } from "../../src/operate/inspector/pure/timeline.ts"
import { branches } from "../../src/operate/inspector/pure/tree.ts"
import { draw } from "../../src/operate/inspector/views/drawing.ts"

/** Lines as a person would write them down. */
const written = (before: unknown, after: unknown) =>
  difference(before, after).map(({ cells, depth, key, mark }) => {
    const sign = { same: " ", added: "+", removed: "-", changed: "~" }[mark]
    const values = cells.map((cell) =>
      [cell.key, cell.was === undefined ? "" : `${cell.was} →`, cell.text].filter((part) => part !== "").join(" ")
    )
    return `${sign} ${"  ".repeat(depth)}${[key, ...values].filter((part) => part !== "").join(" ")}`
  })

describe("the difference of two states", () => {
  it("is the whole later state, with marks", () => {
    const before = { status: "open", customer: "ada", total: 5850, note: "gift" }
    const after = { status: "paid", customer: "ada", total: 5850, payment: "p-1" }
    expect(written(before, after)).toEqual([
      "~ status open → paid",
      "  customer ada",
      "  total 5850",
      "+ payment p-1",
      "- note gift"
    ])
    expect(tally(difference(before, after))).toEqual({ same: 2, added: 1, removed: 1, changed: 1 })
  })

  it("shows small objects of a list in one line, and finds which one came and went", () => {
    const cup = { sku: "cup", quantity: 1 }
    const pot = { sku: "pot", quantity: 2 }
    expect(written({ lines: [cup, pot] }, { lines: [cup, { sku: "jug", quantity: 3 }, pot] })).toEqual([
      "  lines 3 items",
      "    0 sku cup quantity 1",
      "+   1 sku jug quantity 3",
      "    2 sku pot quantity 2"
    ])
    expect(written({ lines: [cup, pot] }, { lines: [pot] })).toEqual([
      "  lines 1 item",
      "-   0 sku cup quantity 1",
      "    0 sku pot quantity 2"
    ])
    expect(written([cup], [{ ...cup, quantity: 5 }])).toEqual(["~ 0 sku cup quantity 1 → 5"])
  })

  it("marks all of what is new or gone, and one thing that becomes another", () => {
    expect(written({}, { a: { b: { c: 1 } } })).toEqual(["+ a 1 field", "+   b 1 field", "+     c 1"])
    expect(written({ a: { b: 1 } }, {})).toEqual(["- a 1 field", "-   b 1"])
    expect(written({ a: { b: 1 } }, { a: 7 })).toEqual(["~ a 1 field → 7"])
    expect(written(1, 2)).toEqual(["~ 1 → 2"])
    expect(written(null, null)).toEqual(["  null"])
    expect(written(undefined, { a: "" })).toEqual(['  a ""'])
  })

  it("sees maps and sets by their keys", () => {
    const map = (...entries: ReadonlyArray<readonly [string, number]>) => ({ $class: "Map", entries })
    expect(readable({ reserved: map(["1001", 2]), tags: { $class: "Set", values: ["a"] } })).toEqual({
      reserved: { 1001: 2 },
      tags: ["a"]
    })
    expect(written({ r: map(["x", 1]) }, { r: map(["x", 1], ["y", 2]) })).toEqual(["  r 2 fields", "    x 1", "+   y 2"])
  })

  it("has a bound", () => {
    const large = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, index]))
    expect(difference({}, large)).toHaveLength(most)
  })

  it("takes no inherited name for a property", () => {
    expect(same({ a: 1 }, { constructor: 1 })).toBe(false)
    expect(written({}, JSON.parse('{"__proto__":1,"toString":2}'))).toHaveLength(2)
  })
})

it("the gist leaves out what the stream says already", () => {
  expect(gist({ order: "1007", payment: "p-1", lines: [1, 2] }, "Order-1007")).toBe("payment p-1 · lines 2 items")
  expect(gist("word")).toBe("word")
})

describe("a conversation as a tree", () => {
  const message = (position: number, type: string, cause: number | null) => ({
    id: String(position),
    position,
    type,
    causationId: cause === null ? null : String(cause)
  })
  const said = [
    message(1, "Place", null),
    message(2, "Placed", 1),
    message(3, "$EventHandled", 2),
    message(4, "Reserved", 1),
    message(5, "Stray", 99),
    message(6, "$DeadlineSet", 3)
  ]

  it("has effects below their causes, by position, and strangers at the margin", () => {
    expect(branches(said.toReversed()).map(({ message, twigs }) => twigs + message.type)).toEqual([
      "Place",
      "├─ Placed",
      "│  └─ $EventHandled",
      "│     └─ $DeadlineSet",
      "└─ Reserved",
      "Stray"
    ])
  })

  it("folds notes that led to nothing, and counts them", () => {
    const rows = branches([message(1, "Paid", null), message(2, "$EventHandled", 1), message(3, "$Note", 1)], true)
    expect(rows).toMatchObject([{ message: { type: "Paid" }, folded: 2 }])
    expect(branches(said, true).map(({ message }) => message.type)).toContain("$EventHandled")
  })

  it("is no circle where ids say so, and no stack where it is deep", () => {
    expect(branches([message(1, "A", 2), message(2, "B", 1)]).map(({ depth }) => depth)).toEqual([0, 1])
    const deep = Array.from({ length: 20_000 }, (_, index) => message(index + 1, "E", index === 0 ? null : 1))
    expect(branches(deep)).toHaveLength(20_000)
  })
})

describe("rows", () => {
  it("are drawn where one looks, and a few around", () => {
    expect(rowWindow(0, 300, 30, 1_000_000)).toEqual({ first: 0, end: 18, height: 30_000_000, offset: 0 })
    const middle = rowWindow(3000, 300, 30, 1000)
    expect([middle.first, middle.end]).toEqual([92, 118])
    expect(rowWindow(99_999, 300, 30, 10)).toMatchObject({ end: 10 })
    expect(rowWindow(-20, 300, 30, 0)).toEqual({ first: 0, end: 0, height: 0, offset: 0 })
  })

  it("are scrolled to no further than needed", () => {
    expect(scrollFor(5, 0, 300, 30)).toBeUndefined()
    expect(scrollFor(20, 0, 300, 30)).toBe(360)
    expect(scrollFor(2, 300, 300, 30)).toBe(30)
  })

  it("versions come in windows of 200 that hold the one that is wanted", () => {
    expect(versionWindow(7, 9)).toEqual({ from: 1, to: 9 })
    for (const version of [1, 50, 100, 101, 4999, 5000, 9_999_999, 10_000_000]) {
      const { from, to } = versionWindow(version, 10_000_000)
      expect(to - from).toBeLessThan(200)
      expect(from <= version && version <= to).toBe(true)
    }
  })
})

describe("text of a store", () => {
  it("is shown with what cannot be seen written out", () => {
    expect(plain("a\u0000b\u202ec\u200bd\n")).toBe("a\\u0000b\\u202ec\\u200bd\\u000a")
    expect(plain("<script>👩‍👩‍👧 ü")).toBe("<script>👩‍👩‍👧 ü")
    expect(plain("\ud800")).toBe("\\ud800")
  })

  it("has categories and ids", () => {
    expect([categoryOf("Order-1-2"), idOf("Order-1-2"), categoryOf("Run"), idOf("Run")]).toEqual(["Order", "1-2", "Run", "Run"])
    expect(brief("01a22794-fbff-7400-8000-fdb5")).toBe("01a22794…fdb5")
    expect([short(999_999), short(5_000_000), bytes(512), bytes(1_400), bytes(3e9)]).toEqual([
      "999,999",
      "5.0 M",
      "512 B",
      "1.4 kB",
      "3.0 GB"
    ])
  })
})

describe("time", () => {
  const now = Date.parse("2026-01-31T12:00:00Z")
  it("is read as people write it", () => {
    expect(instantOf("15m", now, true)).toBe(now - 900_000)
    expect(instantOf("1.5h", now, true)).toBe(now - 5_400_000)
    expect(instantOf("2026-01-30", now, true)).toBe(Date.parse("2026-01-30T00:00:00Z"))
    expect(instantOf("2026-01-30 08:30", now, true)).toBe(Date.parse("2026-01-30T08:30:00Z"))
    expect(instantOf("2026-01-30T08:30:05.250Z", now, false)).toBe(Date.parse("2026-01-30T08:30:05.250Z"))
    for (const wrong of ["", "soon", "2026-13-99", "5y"]) expect(instantOf(wrong, now, true)).toBeUndefined()
  })

  it("is said in one unit", () => {
    expect([ago(now - 500, now), ago(now - 200_000, now), ago(now + 7_200_000, now)]).toEqual(["now", "3m ago", "in 2h"])
    expect([gap(12), gap(1400), gap(21_600_000), gap(864_000_000)]).toEqual(["12 ms", "1.4 s", "6 h", "10 days"])
    expect(dayAndTime(now, true)).toEqual({ day: "2026-01-31", time: "12:00:00" })
    expect(dayAndTime(Number.NaN, true).day).toBe("not a time")
  })

  it("stands on a line where pauses are short", () => {
    const { pauses, places } = timeline([0, 10, 10, 86_400_000])
    expect(places[0]).toBe(0)
    expect(places[1]).toBe(places[2])
    expect(places[1]).toBeGreaterThan(0.1)
    expect(places[3]).toBe(1)
    expect(pauses).toEqual([{ from: places[1], to: 1, milliseconds: 86_399_990 }])
    expect(timeline([5]).places).toEqual([0])
  })
})

describe("a place", () => {
  it("has one address", () => {
    const route = { view: "streams", params: { version: "3", stream: "Order-1 & <b>", category: "" } } as const
    expect(formatRoute(route)).toBe("#/streams?stream=Order-1+%26+%3Cb%3E&version=3")
    expect(parseRoute(formatRoute(route))).toEqual({ view: "streams", params: { version: "3", stream: "Order-1 & <b>" } })
    expect(parseRoute("#/nowhere")).toEqual({ view: "streams", params: {} })
    expect(parseRoute("")).toEqual({ view: "streams", params: {} })
  })
})

describe("drawings", () => {
  it("lines begin with a scale that makes no alarm of little", () => {
    expect(linePoints([0, 1], 59, 12, 60)).toBe("58.0,11.0 59.0,10.0")
    expect(linePoints([], 10, 10, 60)).toBe("")
    expect(areaPoints([0, 100], 59, 12, 60)).toBe("58.0,12 58.0,11.0 59.0,1.0 59,12")
    expect(rateOf([])).toBe(0)
    expect(
      rateOf([
        [0, 10],
        [2000, 30]
      ])
    ).toBe(10)
    expect([rateText(0), rateText(0.01), rateText(3.14), rateText(1234.5)]).toEqual(["0", "<0.1", "3.1", "1,235"])
  })

  it("the machine has a place for each state, and lines between edges", () => {
    const boxes = (Object.keys(places) as ReadonlyArray<State>).map(boxOf)
    expect(new Set(boxes.map(({ x, y }) => `${x} ${y}`)).size).toBe(8)
    for (const [from, to] of ways) {
      const line = lineOf(from, to)
      expect([line.from.x, line.from.y]).not.toEqual([line.to.x, line.to.y])
    }
  })

  it("the map goes from left to right, and leaves out edges to nowhere", () => {
    const node = (kind: "command" | "aggregate" | "event", name: string) => ({
      id: `${kind}:${name}`,
      kind,
      name,
      follower: null
    })
    const drawn = draw({
      nodes: [node("command", "Place"), node("aggregate", "Order"), node("event", "Placed")],
      edges: [
        { from: "command:Place", to: "aggregate:Order", kind: "executes" },
        { from: "aggregate:Order", to: "event:Placed", kind: "records" },
        { from: "aggregate:Order", to: "event:Gone", kind: "records" }
      ]
    })
    expect(drawn.edges.map(({ to }) => to)).toEqual(["aggregate:Order", "event:Placed"])
    const xs = ["command:Place", "aggregate:Order", "event:Placed"].map((id) => drawn.boxes.get(id)?.x ?? 0)
    expect(xs).toEqual(xs.toSorted((a, b) => a - b))
    expect(drawn.edges[0]?.path).toMatch(/^M[\d. ]+C/)
    expect(draw({ nodes: [], edges: [] })).toMatchObject({ width: 16, height: 16 })
  })
})
