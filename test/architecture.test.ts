import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { beforeAll, describe, expect, it } from "vitest"
import { house, mayImport } from "../.house.ts"

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
      [oxlint, "-c", ".oxlint.config.ts", "--deny-warnings", "--format=json"],
      { cwd: folder, maxBuffer: 1 << 26 },
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
const lintFiles = async (files: Readonly<Record<string, ReadonlyArray<string>>>): Promise<ReadonlyArray<Refusal>> => {
  const folder = await mkdtemp(join(tmpdir(), "eventfold-architecture-"))
  try {
    for (const file of [".oxlint.config.ts", ".house.ts"]) await cp(join(root, file), join(folder, file))
    await symlink(join(root, "node_modules"), join(folder, "node_modules"))
    for (const [path, lines] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), lines.join("\n") + "\n")
    }
    return await lint(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

const wings = Object.entries(house)

/** The table as a picture: the floors from the top, with what each wing holds. */
const drawing = (): string => {
  const width = Math.max(...wings.map(([name]) => name.length))
  const floors = Array.from(new Set(wings.map(([, { floor }]) => floor))).sort((a, b) => b - a)
  return floors
    .map((floor) =>
      wings
        .filter(([, wing]) => wing.floor === floor)
        .map(([name, { holds }], index) => `${index === 0 ? floor : " "}  ${name.padEnd(width)}  ${holds}`)
        .join("\n")
    )
    .join("\n")
}

const packages = ["effect/Effect", "effect/sql/SqlClient", "effect", "eventfold", "@effect/sql-pg", "node:fs"]
/** The faces of a wing, a room of it, and a room behind a door. */
const modulesOf = (wing: string, faces: ReadonlyArray<string>) =>
  Array.from(new Set([...faces.filter((face) => face !== "*"), "room", "deeper/room"]), (room) => `${wing}/${room}`)

describe("the table of the house", () => {
  it("has all folders of src, and no others", async () => {
    const folders = (await readdir(join(root, "src"), { withFileTypes: true })).filter((entry) => entry.isDirectory())
    expect(folders.map(({ name }) => name).toSorted()).toEqual([...wings.map(([name]) => name), "guides"].toSorted())
  })

  it("has no arrow up", () => {
    for (const [name, { floor, knows }] of wings) {
      const higher = knows.filter((other) => (house[other]?.floor ?? Infinity) > floor)
      expect([name, ...higher]).toEqual([name])
    }
  })

  it("has no cycle of wings", () => {
    const reach = (name: string, seen: ReadonlySet<string>): boolean =>
      (house[name]?.knows ?? []).some((other) => seen.has(other) || reach(other, new Set([...seen, other])))
    expect(wings.map(([name]) => name).filter((name) => reach(name, new Set([name])))).toEqual([])
  })

  it("names faces that exist", () => {
    const missing = wings.flatMap(([name, { faces }]) =>
      faces.filter((face) => face !== "*" && !existsSync(join(root, "src", name, `${face}.ts`))).map((face) => `${name}/${face}`)
    )
    expect(missing).toEqual([])
  })

  it("is the picture in the README", async () => {
    const readme = await readFile(join(root, "README.md"), "utf8")
    expect(readme).toContain(drawing())
  })
})

describe("the linter keeps to the table", () => {
  const modules = [...wings.flatMap(([name, { faces }]) => modulesOf(name, faces)), "index"]
  const targetsOf = (from: string) => [...modules, ...packages].filter((to) => to !== from && to !== "index")
  const allows = (from: string, to: string): boolean => {
    if (to === "effect" || to === "eventfold") return false
    if (packages.includes(to))
      return (to.startsWith("effect/") && from !== "index") || house[from.split("/")[0] ?? ""]?.packages === true
    return mayImport(from, to)
  }
  const specifier = (from: string, to: string): string => {
    if (packages.includes(to)) return to
    const path = relative(dirname(from), `${to}.ts`)
    return path.startsWith(".") ? path : `./${path}`
  }
  let refusals: ReadonlyArray<Refusal> = []

  beforeAll(async () => {
    refusals = await lintFiles(
      Object.fromEntries(
        modules.map((from) => [
          `src/${from}.ts`,
          targetsOf(from).map((to) => `export * from ${JSON.stringify(specifier(from, to))}`)
        ])
      )
    )
  })

  it.each(modules)("src/%s", (from) => {
    const lines = new Set(
      refusals
        .filter(({ file, rule }) => file === `src/${from}.ts` && rule.includes("no-restricted-imports"))
        .map(({ line }) => line)
    )
    const refused = targetsOf(from).filter((_, index) => lines.has(index + 1))
    expect(refused).toEqual(targetsOf(from).filter((to) => !allows(from, to)))
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
      await rulesByLine("src/definitions/Event.ts", [
        `import "../following/Relay.ts"`,
        `export { Relay } from "../following/Relay.ts"`,
        `export type { Options } from "../following/Relay.ts"`,
        `export const load = () => import("../following/Relay.ts")`,
        `export const detour = () => import("../internal/../following/Relay.ts")`,
        `export type Options = import("../following/Relay.ts").Options`
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

  it("ask for a wing for each module", async () => {
    expect(await rulesByLine("src/Novelty.ts", [`export * from "./internal/json.ts"`, `export * from "effect/Effect"`])).toEqual([
      [restricted],
      [restricted]
    ])
  })

  it("let tests and examples import public modules as a user does", async () => {
    for (const path of ["test/Event.test.ts", "examples/shop/main.ts"]) {
      expect(
        await rulesByLine(path, [
          `export { Event } from "eventfold"`,
          `export * from "../src/internal/json.ts"`,
          `export * from "../src/definitions/Event.ts"`,
          `export * from "../../src/postgres/index.ts"`
        ])
      ).toEqual([[], [], [restricted], [restricted]])
    }
  })

  it("refuse a cycle", async () => {
    const refusals = await lintFiles({
      "src/following/Relay.ts": [`import { a } from "./Subscription.ts"`, "export const b = a"],
      "src/following/Subscription.ts": [`import { b } from "./Relay.ts"`, "export const a = () => b"]
    })
    expect(refusals.map(({ file, rule }) => [file, rule]).toSorted()).toEqual([
      ["src/following/Relay.ts", "import(no-cycle)"],
      ["src/following/Subscription.ts", "import(no-cycle)"]
    ])
  })

  it("refuse any", async () => {
    expect(await rulesByLine("src/definitions/Event.ts", ["export const parse: (text: string) => any = JSON.parse"])).toEqual([
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
    const files = [
      "package.json",
      "tsconfig.json",
      ".knip.jsonc",
      ".gitignore",
      "vitest.config.ts",
      ".vitest.mutation.ts",
      ".oxlint.config.ts",
      ".house.ts"
    ]
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
