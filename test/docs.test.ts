import { beforeAll, describe, expect, it } from "vitest"
import { blocksOf, type DocBlock, docBlocks, type DocRunner, makeDocRunner } from "./support/docs.ts"

describe("the documentation", () => {
  const blocks = docBlocks()
  let runner: DocRunner

  beforeAll(() => {
    runner = makeDocRunner(blocks)
    return runner.dispose
  }, 60_000)

  it.each(blocks.map((block) => [`${block.file}:${block.line}`, block] as const))("%s", async (_, block) => {
    expect(runner.compileErrors(block)).toEqual([])
    if (!block.compileOnly) await runner.run(block)
  })
})

describe("the test of the documentation", () => {
  const fence = "```"
  const docstring = (...lines: ReadonlyArray<string>): string =>
    ["/**", " * A text.", " *", ...lines.map((line) => ` * ${line}`), " */", "export const a = 1"].join("\n")
  const blocks: ReadonlyArray<DocBlock> = [
    ...blocksOf("src/right.ts", docstring(`${fence}ts`, `const pair: [number, string] = [1, "a"]`, `pair // => [1, "a"]`, fence)),
    ...blocksOf(
      "src/wrong.ts",
      docstring(`${fence}ts`, "const one = 1", "Math.abs(", "  one", "); // => 2", "one // => 1", fence)
    ),
    ...blocksOf("types.md", ["# Types", "", `${fence}ts no-run`, "export const text: string = 1", fence].join("\n")),
    ...blocksOf("throws.md", [`${fence}ts`, "", `throw new Error("no")`, fence, `${fence}sh`, "ls", fence].join("\n"))
  ]
  const [right, wrong, types, throws] = blocks as [DocBlock, DocBlock, DocBlock, DocBlock]
  let runner: DocRunner

  beforeAll(() => {
    runner = makeDocRunner(blocks)
    return runner.dispose
  }, 60_000)

  it("accepts what is right", async () => {
    expect(runner.compileErrors(right)).toEqual([])
    await runner.run(right)
  })

  it("names the line of an assertion that does not hold", async () => {
    expect(runner.compileErrors(wrong)).toEqual([])
    await expect(runner.run(wrong)).rejects.toThrow(/AssertionError[^]*src\/wrong\.ts:6\b/)
  })

  it("names the line that does not compile", () => {
    expect(runner.compileErrors(types)).toEqual(["types.md:4: error TS2322: Type 'number' is not assignable to type 'string'."])
    expect(types.compileOnly).toBe(true)
  })

  it("names the line that throws", async () => {
    await expect(runner.run(throws)).rejects.toThrow(/Error: no[^]*throws\.md:3\b/)
  })

  it("finds nothing but what is fenced as ts", () => {
    expect(blocks.map(({ file, line }) => `${file}:${line}`)).toEqual([
      "src/right.ts:4",
      "src/wrong.ts:4",
      "types.md:3",
      "throws.md:1"
    ])
  })

  it("refuses an assertion that would not be checked", () => {
    const inside = blocksOf("inside.md", [`${fence}ts`, "if (true) {", "  1 // => 2", "}", fence].join("\n"))
    expect(() => makeDocRunner(inside)).toThrow("inside.md:1")
  })

  it.each([
    [`${fence}ts norun`, "1", fence],
    [`${fence}ts`, "1"]
  ])("refuses a fence of %s … %s", (...lines) => {
    expect(() => blocksOf("open.md", lines.join("\n"))).toThrow("open.md:1")
  })
})
