import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

const filesBelow = (folder: string, pattern: RegExp): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { encoding: "utf8", recursive: true })
    .filter((file) => pattern.test(file))
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
      ...filesBelow("src/testing", /Conformance\.ts$/),
      "test/support/crash.ts"
    ]
      .map(read)
      .join("\n")
    expect([...tests.values()].filter((title) => !sources.includes(JSON.stringify(title)))).toEqual([])
  })
})

describe("the pages", () => {
  it("link to files that exist", () => {
    const exists = (page: string, target: string) => existsSync(join(root, page, "..", target))
    const dead = ["README.md", ...filesBelow("src", /\.md$/)].flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)]
        .filter(([, target = ""]) => !exists(page, target))
        .map(([, target]) => `${page}: ${target}`)
    )
    expect(dead).toEqual([])
  })
})
