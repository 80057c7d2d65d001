import { execFile } from "node:child_process"
import { appendFile, cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { beforeAll, describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

interface Refusal {
  readonly rule: string
  readonly file: string
  readonly line: number
}

/** What oxlint refuses in a folder, by the configuration that lies there. */
const lint = (folder: string): Promise<ReadonlyArray<Refusal>> =>
  new Promise((resolve, reject) => {
    const oxlint = join(root, "node_modules", "oxlint", "bin", "oxlint")
    execFile(
      process.execPath,
      [oxlint, "--deny-warnings", "--format=json"],
      { cwd: folder, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        if (error !== null && error.code !== 1) return reject(new Error(stderr + stdout, { cause: error }))
        const { diagnostics } = JSON.parse(stdout) as {
          diagnostics: Array<{ code: string; filename: string; labels: Array<{ span: { line: number } }> }>
        }
        resolve(
          diagnostics.map(({ code, filename, labels }) => ({ rule: code, file: filename, line: labels[0]?.span.line ?? 0 }))
        )
      }
    )
  })

/** The files, by path, in a folder of their own that is ruled by the project's configuration. */
const lintFiles = async (
  files: Readonly<Record<string, ReadonlyArray<string>>>,
  allow: ReadonlyArray<string> = []
): Promise<ReadonlyArray<Refusal>> => {
  const folder = await mkdtemp(join(tmpdir(), "eventfold-architecture-"))
  try {
    const config = JSON.parse(await readFile(join(root, ".oxlintrc.json"), "utf8")) as { rules: Record<string, unknown> }
    for (const rule of allow) config.rules[rule] = "off"
    await writeFile(join(folder, ".oxlintrc.json"), JSON.stringify(config))
    for (const [path, lines] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), lines.join("\n") + "\n")
    }
    return await lint(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

// The house, from the ground up. A module knows its own floor and those below.
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["internal/json.ts"],
  ["Event.ts", "Command.ts", "Aggregate.ts"],
  ["EventStore.ts", "Transport.ts", "Snapshots.ts", "Checkpoints.ts", "ParkedEvents.ts", "DeadLetters.ts", "Inbox.ts"],
  ["UnitOfWork.ts"],
  ["Repository.ts"],
  ["MessageBus.ts", "Subscription.ts", "Projection.ts", "Relay.ts", "ProcessManager.ts", "AuditTrail.ts"],
  ["index.ts"]
]
const rooms = ["postgres", "sqlite", "jsonl", "nats", "redis", "rabbitmq", "testing"]
const core = floors.flat()
// Scenarios run commands as production does.
const scenarios = "testing/Scenario.ts"
const adapters = [...rooms.flatMap((room) => [`${room}/index.ts`, `${room}/deeper/part.ts`]), scenarios]
const packages = [
  "effect/Effect",
  "effect/sql/SqlClient",
  "effect",
  "eventfold",
  "@effect/sql-pg",
  "@electric-sql/pglite",
  "node:fs"
]

const floorOf = (path: string): number => floors.findIndex((modules) => modules.includes(path))

const isAllowed = (from: string, to: string): boolean => {
  const fromFloor = floorOf(from)
  const toFloor = floorOf(to)
  if (to === "effect" || to === "eventfold") return false
  if (packages.includes(to)) return fromFloor === -1 || to.startsWith("effect/")
  if (fromFloor === -1) {
    if (to.split("/")[0] === from.split("/")[0]) return true
    if (from === scenarios && ["Repository.ts", "MessageBus.ts"].includes(to)) return true
    return toFloor >= 0 && toFloor <= floorOf("UnitOfWork.ts")
  }
  if (from === "index.ts") return toFloor > floorOf("internal/json.ts")
  return toFloor >= 0 && toFloor <= fromFloor
}

const specifier = (from: string, to: string): string => {
  if (packages.includes(to)) return to
  const path = relative(dirname(from), to)
  return path.startsWith(".") ? path : `./${path}`
}

describe("an arrow points only downwards", () => {
  const modules = [...core, ...adapters]
  const targetsOf = (from: string) => [...modules, ...packages].filter((to) => to !== from)
  let refusals: ReadonlyArray<Refusal> = []

  beforeAll(async () => {
    refusals = await lintFiles(
      Object.fromEntries(
        modules.map((from) => [
          `src/${from}`,
          targetsOf(from).map((to) => `export * from ${JSON.stringify(specifier(from, to))}`)
        ])
      )
    )
  })

  it.each(modules)("src/%s", (from) => {
    const lines = new Set(
      refusals
        .filter(({ file, rule }) => file === `src/${from}` && rule.includes("no-restricted-imports"))
        .map(({ line }) => line)
    )
    const refused = targetsOf(from).filter((_, index) => lines.has(index + 1))
    expect(refused).toEqual(targetsOf(from).filter((to) => !isAllowed(from, to)))
    expect(refused).not.toEqual([])
  })
})

describe("the rules", () => {
  const rulesByLine = async (path: string, lines: ReadonlyArray<string>) => {
    const refusals = await lintFiles({ [path]: lines })
    return lines.map((_, index) =>
      refusals
        .filter(({ line }) => line === index + 1)
        .map(({ rule }) => rule)
        .toSorted()
    )
  }
  const restricted = "eslint(no-restricted-imports)"

  it("see every way to import", async () => {
    expect(
      await rulesByLine("src/Event.ts", [
        `import "./Relay.ts"`,
        `export { Relay } from "./Relay.ts"`,
        `export type { Options } from "./Relay.ts"`,
        `export const load = () => import("./Relay.ts")`,
        `export const detour = () => import("./internal/../Relay.ts")`,
        `export type Options = import("./Relay.ts").Options`
      ])
    ).toEqual([
      [restricted, "import(no-unassigned-import)"],
      [restricted],
      [restricted],
      [restricted],
      [restricted],
      ["typescript(consistent-type-imports)"]
    ])
  })

  it("let definitions know the store port's types alone", async () => {
    expect(
      await rulesByLine("src/Event.ts", [
        `export type { NewEvent } from "./EventStore.ts"`,
        `export { append } from "./EventStore.ts"`,
        `export * from "./EventStore.ts"`
      ])
    ).toEqual([[], [restricted], [restricted]])
  })

  it("ask for the floor of a new module of the core", async () => {
    expect(await rulesByLine("src/Novelty.ts", [`export * from "./internal/json.ts"`, `export * from "./Event.ts"`])).toEqual([
      [],
      [restricted]
    ])
  })

  it("let tests and examples import public modules as a user does", async () => {
    for (const path of ["test/Event.test.ts", "examples/shop/main.ts"]) {
      expect(
        await rulesByLine(path, [
          `export { Event } from "eventfold"`,
          `export * from "../src/internal/json.ts"`,
          `export * from "../src/Event.ts"`,
          `export * from "../../src/postgres/index.ts"`
        ])
      ).toEqual([[], [], [restricted], [restricted]])
    }
  })

  it("refuse a cycle", async () => {
    const refusals = await lintFiles({
      "src/Relay.ts": [`import { a } from "./Subscription.ts"`, "export const b = a"],
      "src/Subscription.ts": [`import { b } from "./Relay.ts"`, "export const a = () => b"]
    })
    expect(refusals.map(({ file, rule }) => [file, rule]).toSorted()).toEqual([
      ["src/Relay.ts", "import(no-cycle)"],
      ["src/Subscription.ts", "import(no-cycle)"]
    ])
  })

  it("refuse any", async () => {
    expect(await rulesByLine("src/Event.ts", ["export const parse: (text: string) => any = JSON.parse"])).toEqual([
      ["typescript(no-explicit-any)"]
    ])
  })
})

it("the tree is clean", async () => {
  expect(await lint(root)).toEqual([])
})

it("nothing is unused, and what is planted is found", async () => {
  const folder = await mkdtemp(join(tmpdir(), "eventfold-unused-"))
  try {
    const files = ["package.json", "tsconfig.json", ".knip.jsonc", ".gitignore", "vitest.config.ts", ".vitest.mutation.ts"]
    for (const path of [...files, "src", "test", "examples"]) await cp(join(root, path), join(folder, path), { recursive: true })
    await symlink(await realpath(join(root, "node_modules")), join(folder, "node_modules"))
    await appendFile(join(folder, "src/internal/order.ts"), "export const planted = 1\n")
    await appendFile(join(folder, "test/support/files.ts"), "export interface Planted {}\n")
    await writeFile(join(folder, "src/internal/planted.ts"), "export const alone = 1\n")
    const knip = join(root, "node_modules", "knip", "bin", "knip.js")
    const report = await new Promise<string>((resolve, reject) => {
      execFile(process.execPath, [knip, "--reporter", "json"], { cwd: folder, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
        if (error?.code === 1) resolve(stdout)
        else reject(new Error(`knip found nothing, or ended with ${error?.code}: ${stderr}`))
      })
    })
    const { issues } = JSON.parse(report) as {
      readonly issues: ReadonlyArray<
        { readonly file: string } & Readonly<Record<string, ReadonlyArray<{ readonly name: string }>>>
      >
    }
    const found = issues.flatMap(({ file, ...kinds }) =>
      Object.entries(kinds).flatMap(([kind, findings]) => findings.map(({ name }) => `${file}: ${kind} ${name}`))
    )
    expect(found.toSorted()).toEqual([
      "src/internal/order.ts: exports planted",
      "src/internal/planted.ts: files src/internal/planted.ts",
      "test/support/files.ts: types Planted"
    ])
  } finally {
    await rm(folder, { recursive: true })
  }
})
