import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
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

/** For a machine that does other things too: nothing here is timed. */
const long = { timeout: 120_000 }

const only = (names: ReadonlyArray<string>) => names.flatMap((name) => ["--only", name])

const number = expect.any(Number)
const side = { median: number, min: number, max: number }
const ratio = { ratio: number, lowest: number, highest: number }

it("measures a case beside its raw twin, and prints a table and JSON", long, async () => {
  const names = ["append, 16 callers", "memory: append, 256 callers"]
  const { stderr, stdout } = await bench("--quick", "--no-peers", "--json", "-", ...only(names))
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

it("measures every kind of decision on logs in databases of their own, each beside plain appends", long, async () => {
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
    Array.from({ length: 6 }, () => ({ ours: side, beside: [], base: { name: expect.stringMatching(plain), ...ratio } }))
  )
})

it("measures what is sealed, shared by tenants, archived or chained beside what is plain", long, async () => {
  const kinds = [
    "personal data: append, 1 caller",
    "tenants: append, 1 caller",
    "retention: appends, 16",
    "hash chain: append, 1 caller"
  ]
  const { stdout } = await bench("--quick", "--no-peers", "--rounds", "1", "--json", "-", ...only(kinds))
  const { cases } = JSON.parse(stdout) as { readonly cases: ReadonlyArray<{ readonly name: string }> }
  const [bases, others] = [true, false].map((wanted) => cases.filter(({ name }) => /(plain|alone)$/.test(name) === wanted))
  expect(bases).toHaveLength(4)
  expect(others).toMatchObject(
    Array.from({ length: 5 }, () => ({ ours: side, base: { name: expect.stringMatching(/(plain|alone)$/), ...ratio } }))
  )
})

it("writes a page with plots", long, async () => {
  const folder = await mkdtemp(join(tmpdir(), "eventfold-bench-page-"))
  try {
    const names = ["streams: append", "sqlite: read all"]
    await bench("--quick", "--no-peers", "--rounds", "1", "--report", folder, ...only(names))
    const page = await readFile(join(folder, "README.md"), "utf8")
    for (const callers of ["1 caller", "16 callers", "256 callers"])
      expect(page).toContain(`| streams: append of one event, ${callers} | appends/s |`)
    const plots = Array.from(page.matchAll(/!\[.+\]\((.+)\)/g), ([, file]) => file as string)
    expect(plots).toEqual(["beside-the-bare-driver.svg", "streams-append-of-one-event-by-callers.svg"])
    const [bars, lines] = await Promise.all(plots.map((file) => readFile(join(folder, file), "utf8")))
    expect(bars).toMatch(/>sqlite: read all<\/text>\n<rect class="c0"/)
    expect(lines).toMatch(/<polyline class="c0" .+ points="(\d+\.\d,\d+\.\d ?){3}"\/>/)
  } finally {
    await rm(folder, { recursive: true })
  }
})

it("measures this build beside that of a commit", long, async () => {
  const names = ["memory: append, 256 callers"]
  const { stderr } = await bench("--quick", "--against", "HEAD", ...only(names))
  expect(stderr).toBe(`  1/1 ${names.join()}\n`)
})

it.each([
  [["--only", "no such case"], "no case is called no such case"],
  [["--against", "no-such-commit"], '"no-such-commit" is no commit of this repository'],
  [["--report", "page", "--against", "HEAD"], "--report and --against do not go together"],
  [["--rounds", "0"], "--rounds is 1 at least"]
])("refuses %j", async (options, message) => {
  await expect(bench(...options)).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining(message) })
})
