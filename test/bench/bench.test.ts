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

it("measures a case beside its raw twin, and prints a table and JSON", async () => {
  const names = ["append, 16 callers", "memory: append, 256 callers"]
  const { stderr, stdout } = await bench("--quick", "--json", "-", ...names.flatMap((name) => ["--only", name]))
  for (const name of names) expect(stderr).toMatch(new RegExp(`^${name} +appends/s( +[\\d ]+\\d){2} +\\d+\\.\\d\\d `, "m"))
  const side = { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number) }
  expect(JSON.parse(stdout)).toMatchObject({
    node: process.version,
    rounds: 2,
    postgres: { fsync: "on" },
    cases: names.map((name) => ({ name, unit: "appends/s", ours: side, raw: side, ratio: expect.any(Number) }))
  })
})

it("refuses a name that no case has", async () => {
  await expect(bench("--only", "no such case")).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("no case is called no such case")
  })
})
