import { beforeAll, describe, expect, it } from "vitest"
import { blocksOf, type DocBlock, docBlocks, type DocRunner, makeDocRunner } from "./support/docs.ts"

describe("the documentation", () => {
  const blocks = docBlocks()
  let runner: DocRunner

  beforeAll(() => {
    runner = makeDocRunner(blocks)
    return runner.dispose
  }, 60_000)

  it.each(blocks.map((block) => [`${block.file}:${block.line}`, block] as const))(
    "%s",
    async (_, block) => {
      expect(runner.compileErrors(block)).toEqual([])
      if (!block.compileOnly) await runner.run(block)
      // One of them starts a PostgreSQL of its own.
    },
    60_000
  )
})

describe("the test of the documentation", () => {
  const page = (file: string, ...lines: ReadonlyArray<string>): DocBlock => {
    const [block, ...others] = blocksOf(file, lines.join("\n"))
    if (block === undefined || others.length > 0) throw new Error(`${file} has ${others.length + 1} blocks`)
    return block
  }
  const right = page("right.ts", "/**", " * Text", " *", " * ```ts", ` * const a = "a"`, ` * a // => "a"`, " * ```", " */")
  const wrong = page("wrong.md", "# Wrong", "```sh", "ls", "```", "```ts", "Math.abs(", "  1", "); // => 1", "1 // => 2", "```")
  const below = page("below.md", "```ts", `"a,b".split(",")`, "// => [", `//  "a", "b"]`, `"a" // => "b"`, "```")
  const throws = page("throws.md", "```ts", "", `throw new Error("no")`, "```")
  const exits = page("exits.md", "```ts", "process.exit(3)", "```")
  const types = page("types.md", "```ts no-run", "export const text: string = 1", "```")
  const inside = page("inside.md", "```ts", "if (true) {", "  1 // => 2", "}", "```")
  const prose = page("prose.md", "```ts", "Once upon a time", "```")
  let runner: DocRunner

  beforeAll(() => {
    runner = makeDocRunner([right, wrong, below, throws, exits, types, inside, prose])
    return runner.dispose
  }, 60_000)

  it("accepts what is right", async () => {
    expect(runner.compileErrors(right)).toEqual([])
    await runner.run(right)
  })

  it("names the line of an assertion that does not hold", async () => {
    expect(runner.compileErrors(wrong)).toEqual([])
    await expect(runner.run(wrong)).rejects.toThrow(/AssertionError[^]*wrong\.md:9\b/)
  })

  it("reads a value below its expression, over several lines", async () => {
    expect(runner.compileErrors(below)).toEqual([])
    await expect(runner.run(below)).rejects.toThrow(/AssertionError[^]*below\.md:5\b/)
  })

  it("names the line that throws, and the block that ends the process", async () => {
    await expect(runner.run(throws)).rejects.toThrow(/Error: no[^]*throws\.md:3\b/)
    await expect(runner.run(exits)).rejects.toThrow("exits.md:1: the block ended its process with code 3")
    await runner.run(right)
  })

  it("names the line that does not compile", () => {
    expect(types.compileOnly).toBe(true)
    expect(runner.compileErrors(types)).toEqual(["types.md:2: error TS2322: Type 'number' is not assignable to type 'string'."])
    expect(runner.compileErrors(prose)).toEqual([expect.stringMatching(/^prose\.md:1: /)])
  })

  it("refuses an assertion that would not be checked", () => {
    expect(runner.compileErrors(inside)).toEqual([expect.stringMatching(/^inside\.md:1: .*"\/\/ =>" must follow/)])
  })

  it("refuses a fence with unknown words, and one without an end", () => {
    expect(() => page("open.md", "", "```ts norun", "1", "```")).toThrow("open.md:2")
    expect(() => page("open.md", "", "```ts", "1")).toThrow("open.md:2")
  })
})
