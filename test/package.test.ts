import { execFile } from "node:child_process"
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What a script of Node prints in a folder, run as somebody who knows nothing of the sources would. */
const node = (cwd: string, ...args: ReadonlyArray<string>): Promise<string> =>
  promisify(execFile)(process.execPath, args, { cwd, maxBuffer: 1 << 24, env: { ...process.env, NODE_OPTIONS: "" } }).then(
    ({ stdout }) => stdout,
    (error: Error & { readonly stdout: string }) => Promise.reject(new Error(`${error.message}\n${error.stdout}`))
  )

const tsc = join(root, "node_modules", "typescript", "bin", "tsc")

interface Manifest {
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly peerDependencies: Readonly<Record<string, string>>
}

describe("the package", () => {
  let consumer = ""
  let installed = ""
  let manifest: Manifest

  beforeAll(async () => {
    consumer = await mkdtemp(join(tmpdir(), "eventfold-package-"))
    installed = join(consumer, "node_modules", "eventfold")
    manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Manifest
    await mkdir(installed, { recursive: true })
    await copyFile(join(root, "package.json"), join(installed, "package.json"))
    for (const peer of Object.keys(manifest.peerDependencies)) {
      const link = join(consumer, "node_modules", peer)
      await mkdir(dirname(link), { recursive: true })
      await symlink(join(root, "node_modules", peer), link)
    }
    await node(root, tsc, "-p", "src/tsconfig.json", "--outDir", join(installed, "dist"))
  }, 60_000)

  afterAll(() => rm(consumer, { recursive: true }))

  it("exports the core and each room of src, and nothing that is not there", async () => {
    const rooms: Array<string> = []
    for (const entry of await readdir(join(root, "src"), { withFileTypes: true })) {
      if (entry.isDirectory() && entry.name !== "internal") rooms.push(`./${entry.name}`)
    }
    expect(Object.keys(manifest.exports).toSorted()).toEqual([".", "./package.json", ...rooms].toSorted())
    for (const [subpath, target] of Object.entries(manifest.exports)) {
      if (typeof target === "string") continue
      const name = subpath === "." ? "index" : `${subpath.slice(2)}/index`
      expect(target).toEqual({
        "@eventfold/source": `./src/${name}.ts`,
        types: `./dist/${name}.d.ts`,
        default: `./dist/${name}.js`
      })
      await readFile(join(installed, `dist/${name}.js`))
      await readFile(join(installed, `dist/${name}.d.ts`))
    }
  })

  it("has a script, a declaration and both maps of every module, and no script imports TypeScript", async () => {
    const modules = (await readdir(join(root, "src"), { recursive: true })).filter((file) => file.endsWith(".ts"))
    const emitted = (await readdir(join(installed, "dist"), { recursive: true })).filter((file) => /\.\w+$/.test(file))
    const endings = [".js", ".js.map", ".d.ts", ".d.ts.map"]
    expect(emitted.toSorted()).toEqual(
      modules.flatMap((file) => endings.map((ending) => file.replace(/\.ts$/, ending))).toSorted()
    )
    for (const file of emitted.filter((file) => file.endsWith(".js"))) {
      const script = await readFile(join(installed, "dist", file), "utf8")
      // A comment's line begins with an asterisk; examples import packages alone anyway.
      expect(script).not.toMatch(/^(?!\s*\*).*["']\.{1,2}\/[^"']*\.ts["']/m)
    }
  })

  it("runs in plain Node", async () => {
    const subpaths = Object.keys(manifest.exports).filter((subpath) => !subpath.endsWith(".json"))
    await writeFile(join(consumer, "package.json"), JSON.stringify({ type: "module" }))
    await writeFile(
      join(consumer, "main.js"),
      `import * as Effect from "effect/Effect"
       import { EventStore } from "eventfold"
       for (const subpath of ${JSON.stringify(subpaths)}) await import("eventfold" + subpath.slice(1))
       const append = EventStore.append("Account-1", [{ type: "AccountOpened", payload: {} }])
       console.log(JSON.stringify(await Effect.runPromise(Effect.provide(append, EventStore.layerMemory))))`
    )
    expect(JSON.parse(await node(consumer, "main.js"))).toEqual({
      stream: "Account-1",
      version: 1,
      position: 1,
      deduplicated: false
    })
  })

  it("is typed for its users", async () => {
    await writeFile(
      join(consumer, "main.ts"),
      `import type { Effect } from "effect"
       import { EventStore } from "eventfold"
       export const head: Effect.Effect<number, EventStore.EventStoreError, EventStore.EventStore> = EventStore.head
       // @ts-expect-error: a position is a number
       export const text: Effect.Effect<string, EventStore.EventStoreError, EventStore.EventStore> = EventStore.head`
    )
    const compilerOptions = { module: "nodenext", target: "es2024", strict: true, noEmit: true, skipLibCheck: true, types: [] }
    await writeFile(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }))
    const resolutions = await node(consumer, tsc, "--traceResolution")
    expect(resolutions).toContain("eventfold/dist/index.d.ts' with Package ID 'eventfold")
    expect(resolutions).not.toContain("eventfold/src/")
  })
})
