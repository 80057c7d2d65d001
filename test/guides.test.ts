import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { PgRights } from "eventfold/postgres"
import { describe, expect, it } from "vitest"
import { packageExports } from "./support/exports.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const filesBelow = (folder: string, pattern: RegExp): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { encoding: "utf8", recursive: true })
    // What the benchmark has installed is not ours.
    .filter((file) => pattern.test(file) && !file.includes("node_modules"))
    .map((file) => join(folder, file))

const read = (file: string) => readFileSync(join(root, file), "utf8")

describe("the table of guarantees", () => {
  const [tables = "", legend = ""] = read("src/guides/guarantees.md").split("## The tests")
  const tests = new Map(
    Array.from(legend.matchAll(/^(\d+)\. `(.+)`$/gm), ([, number = "", title = ""]) => [Number(number), title] as const)
  )
  const rows = tables
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| |"))
    .map((line) => line.split("|").slice(2, -1))
  const named = rows.flat().flatMap((cell) => Array.from(cell.matchAll(/(?<=[\s:])\d+/g), ([number]) => Number(number)))

  it("names a test wherever it says yes", () => {
    for (const cell of rows.flat().filter((cell) => cell.includes("yes"))) expect(cell).toMatch(/yes:? \d/)
    expect(rows.flat().filter((cell) => cell.includes("yes")).length).toBeGreaterThan(80)
  })

  it("names tests that are listed, and lists none that it does not name", () => {
    expect([...new Set(named)].toSorted((a, b) => a - b)).toEqual([...tests.keys()])
  })

  it("lists tests that exist", () => {
    const sources = [
      ...filesBelow("test", /\.test\.ts$/),
      ...filesBelow("src/testing", /\.ts$/),
      "test/support/crash.ts",
      "test/support/followers.ts",
      "test/personal/keys.ts",
      "test/support/removed.ts",
      "test/support/removing.ts",
      "test/personal/order.ts",
      "test/personal/paths.ts",
      "test/personal/personal.ts"
    ]
      .map(read)
      .join("\n")
    expect([...tests.values()].filter((title) => !sources.includes(JSON.stringify(title)))).toEqual([])
  })
})

describe("the rights of the application's role", () => {
  it("are those that the script grants", () => {
    const [, script] = /```sql\n([^]*?)```/.exec(read("src/guides/production.md")) ?? []
    expect(script).toBe(PgRights.grants({ role: "shop" }))
  })
})

describe("what to watch", () => {
  const sources = filesBelow("src", /\.ts$/).map(read)
  /** The rows of the table whose first column has this title: of each cell the texts in backticks, or all of it. */
  const table = (title: string) => {
    const lines = read("src/guides/production.md").split("\n")
    const start = lines.findIndex((line) => line.startsWith(`| ${title} |`)) + 2
    return lines
      .slice(start, lines.indexOf("", start))
      .map((line) => line.split("|").slice(1, -1))
      .map((cells) =>
        cells.map((cell) => (cell.includes("`") ? [...cell.matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text) : [cell.trim()]))
      )
  }
  /** The text up to the parenthesis that closes the one that is open at its beginning. */
  const argument = (text: string) => {
    let depth = 1
    const end = [...text].findIndex((char) => (depth += char === "(" ? 1 : char === ")" ? -1 : 0) === 0)
    return text.slice(0, end)
  }

  it("lists the spans of the sources, with their attributes", () => {
    const spans = sources.flatMap((source) =>
      [...source.matchAll(/(?:withSpan|Effect\.fn)\(\s*(?:"([^"]+)"|`([^`]+)`)/g)].map(
        ({ 0: call, 1: text, 2: template = "", index }) => {
          const name = text ?? template.replace(/\$\{(?:\w+\.)?(\w+)\}/, "<$1>")
          const options = text === undefined ? argument(source.slice(index + call.length)) : ""
          const kind = /kind: "(\w+)"/.exec(options)?.[1] ?? "internal"
          return [
            name,
            kind,
            ...[...options.matchAll(/"((?:messaging|eventfold)\.[\w.]+)":/g)].map(([, name = ""]) => name)
          ].join(" ")
        }
      )
    )
    const listed = table("span").map(([name = [], kind = [], , attributes = []]) =>
      [...name, ...kind, ...attributes].join(" ").trim()
    )
    expect(listed.length).toBeGreaterThan(4)
    expect(listed.toSorted()).toEqual(spans.toSorted())
  })

  it("lists the metrics of the sources, with their kinds and attributes", () => {
    const keysOf = (source: string, value: string): ReadonlyArray<string> => {
      const named = /^\w+$/.exec(value) === null ? value : (new RegExp(`const ${value} = (.+)`).exec(source)?.[1] ?? "")
      const keys = [...named.matchAll(/\{([^{}]*)\}/g)].flatMap(([, inside = ""]) => inside.split(","))
      return keys.flatMap((key) => {
        const [, spread, name = ""] = /^\s*(\.\.\.)?(\w+)/.exec(key) ?? []
        return spread === undefined ? [name] : keysOf(source, name)
      })
    }
    const metrics = sources.flatMap((source) =>
      [...source.matchAll(/const (\w+) = Metric\.(\w+)\("(\w+)"/g)].map(([, variable = "", kind = "", name = ""]) => {
        const attributed = [...source.matchAll(new RegExp(`withAttributes\\(${variable}, (\\w+|\\{[^}]*\\})`, "g"))]
        const attributes = new Set(attributed.flatMap(([, value = ""]) => keysOf(source, value)))
        return [name, kind, ...[...attributes].toSorted()].join(" ")
      })
    )
    const listed = table("metric").map(([name = [], kind = [], attributes = []]) =>
      [...name, ...kind, ...attributes.toSorted()].join(" ")
    )
    expect(listed.length).toBeGreaterThan(10)
    expect(listed.toSorted()).toEqual(metrics.toSorted())
  })
})

describe("the page of Layers", () => {
  const page = read("src/guides/layers.md")
  const ways = Object.values(packageExports())
    .flat()
    .filter(
      ({ internal, kind, name }) =>
        kind === "value" && !internal && /\.(layer|make[A-Z])|[a-z](Store|Checkpoints|Transport|Client|Lite)\.make$/.test(name)
    )
    .map(({ name }) => name)
    // An alias, which has given way to `Consumer.layer`.
    .filter((name) => name !== "Transport.layerConsumer" && name !== "EventStore.make")

  it("has every Layer, and what makes the same without one", () => {
    expect(ways.filter((name) => !new RegExp(`\`${name}[\`(]`).test(page))).toEqual([])
    expect(ways.length).toBeGreaterThan(40)
  })

  it("has no other", () => {
    const named = [...page.matchAll(/`(\w+\.(?:layer|make)\w*)[`(]/g)].map(([, name = ""]) => name)
    expect(named.filter((name) => !ways.includes(name))).toEqual([])
  })
})

describe("the pages", () => {
  it("are all named in the README", () => {
    const readme = read("README.md")
    const pages = filesBelow("src/guides", /\.md$/)
    expect(pages.filter((page) => !readme.includes(`](${page})`))).toEqual([])
    expect(pages.length).toBeGreaterThan(10)
  })

  it("link to files that exist", () => {
    const exists = (page: string, target: string) => existsSync(join(root, page, "..", target))
    const dead = [
      "README.md",
      ...filesBelow("src", /\.md$/),
      ...filesBelow("test/bench", /\.md$/),
      ...filesBelow("findings", /\.md$/)
    ].flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)]
        .filter(([, target = ""]) => !exists(page, target))
        .map(([, target]) => `${page}: ${target}`)
    )
    expect(dead).toEqual([])
  })
})
