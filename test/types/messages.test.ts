import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))
const file = "test/types/messages.ts"
const marker = "// @ts-expect-error "
const lines = readFileSync(join(root, file), "utf8").split("\n")

// Inside of the project, so that `import … from "eventfold"` is this package.
mkdirSync(join(root, ".cache"), { recursive: true })
const folder = mkdtempSync(join(root, ".cache", "messages-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** What the compiler says where nothing tells it to expect an error, by the line that it says it of. */
const compiled = (): ReadonlyMap<number, string> => {
  const tsconfig = { extends: "../../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["."] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
  writeFileSync(join(folder, "messages.ts"), lines.map((line) => line.replace(marker, "// expected: ")).join("\n"))
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const { stdout } = spawnSync(process.execPath, [tsc, "--pretty", "false"], { cwd: folder, encoding: "utf8" })
  const messages = stdout.split(/\n(?=\S)/).filter((message) => message.trim() !== "")
  return new Map(messages.map((message) => [Number(/^messages\.ts\((\d+),/.exec(message)?.[1]), message]))
}

describe("a person who makes a mistake is told", () => {
  const expected = lines.flatMap((line, index) => {
    const sentence = line.trim().startsWith(marker) ? line.trim().slice(marker.length) : undefined
    return sentence === undefined ? [] : [[index + 1, sentence] as const]
  })
  const messages = compiled()

  it.each(expected)("%i: %s", (line, sentence) => {
    expect(messages.get(line + 1)).toContain(sentence)
  })

  it("nothing of what is right", () => {
    expect([...messages.keys()].toSorted((a, b) => a - b)).toEqual(expected.map(([line]) => line + 1))
  })
})
