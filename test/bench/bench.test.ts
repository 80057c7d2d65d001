import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, it } from "vitest"

const bench = (...options: ReadonlyArray<string>) =>
  promisify(execFile)(process.execPath, [
    "--conditions=@eventfold/source",
    "--expose-gc",
    fileURLToPath(new URL("main.ts", import.meta.url)),
    ...options
  ])

const only = (names: ReadonlyArray<string>) => names.flatMap((name) => ["--only", name])

const number = expect.any(Number)
const side = { median: number, min: number, max: number }
const ratio = { ratio: number, lowest: number, highest: number }

it("measures a case beside its raw twin, and prints a table and JSON", async () => {
  const names = ["append, 16 callers", "memory: append, 256 callers"]
  const { stderr, stdout } = await bench("--quick", "--json", "-", ...only(names))
  for (const name of names) {
    expect(stderr).toMatch(
      new RegExp(`^${name} +appends/s( +[\\d ]+\\d){2}  raw +\\d+\\.\\d\\d +\\d+\\.\\d\\d–\\d+\\.\\d\\d `, "m")
    )
  }
  expect(JSON.parse(stdout)).toMatchObject({
    node: process.version,
    rounds: 2,
    postgres: { fsync: "on" },
    cases: names.map((name) => ({ name, unit: "appends/s", ours: side, beside: [{ name: "raw", ...side, ...ratio }] }))
  })
})

it(
  "measures every kind of decision on logs in databases of their own, each beside plain appends",
  { timeout: 120_000 },
  async () => {
    const kinds = ["tag, 16 callers", "tags, 16 callers", "overlap, 16 callers", "decision, 16 callers", "decisions: 16 writers"]
    const { stdout } = await bench("--quick", "--no-peers", "--rounds", "1", "--json", "-", ...only(kinds))
    const { cases } = JSON.parse(stdout) as { readonly cases: ReadonlyArray<{ readonly name: string }> }
    const plain = /^decisions: (append with a tag, \d+ callers?|16 writers alone, on a log of 400 000)$/
    const [bases, others] = [true, false].map((wanted) => cases.filter(({ name }) => plain.test(name) === wanted))
    expect(bases).toEqual(
      Array.from({ length: 2 }, () => ({
        name: expect.any(String),
        unit: "appends/s",
        ours: expect.objectContaining(side),
        beside: []
      }))
    )
    expect(others).toMatchObject(
      Array.from({ length: 5 }, () => ({ ours: side, beside: [], base: { name: expect.stringMatching(plain), ...ratio } }))
    )
  }
)

it("measures this build beside that of a commit", async () => {
  const names = ["memory: append, 256 callers"]
  const { stderr } = await bench("--quick", "--against", "HEAD", ...only(names))
  expect(stderr).toBe(`  1/1 ${names.join()}\n`)
})

it.each([
  [["--only", "no such case"], "no case is called no such case"],
  [["--against", "no-such-commit"], '"no-such-commit" is no commit of this repository'],
  [["--rounds", "0"], "--rounds is 1 at least"]
])("refuses %j", async (options, message) => {
  await expect(bench(...options)).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining(message) })
})
