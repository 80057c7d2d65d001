import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { createContext, Script } from "node:vm"
import * as eventfold from "eventfold"
import { publint } from "publint"
import { type OutputChunk, rolldown } from "rolldown"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { build, most } from "../src/operate/inspector/build.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What a program prints in a folder, run as somebody who knows nothing of the sources would. */
const run = (cwd: string, file: string, ...args: ReadonlyArray<string>): Promise<string> =>
  promisify(execFile)(file, args, { cwd, maxBuffer: 1 << 24, env: { ...process.env, NODE_OPTIONS: "" } }).then(
    ({ stdout }) => stdout,
    (error: Error & { readonly stdout: string }) => Promise.reject(new Error(`${error.message}\n${error.stdout}`))
  )

const node = (cwd: string, ...args: ReadonlyArray<string>) => run(cwd, process.execPath, ...args)

const npm = (cwd: string, ...args: ReadonlyArray<string>) => {
  const cli = process.env["npm_execpath"]
  return cli === undefined ? run(cwd, "npm", ...args) : node(cwd, cli, ...args)
}

const tsc = join(root, "node_modules", "typescript", "bin", "tsc")

interface Manifest {
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly files: ReadonlyArray<string>
  readonly version: string
  readonly peerDependencies: Readonly<Record<string, string>>
}

describe("the package", () => {
  let folder = ""
  /** The packed package. */
  let tarball = ""
  /** A project that has installed it. */
  let consumer = ""
  let installed = ""
  let manifest: Manifest
  let subpaths: ReadonlyArray<string> = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "eventfold-package-"))
    manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Manifest
    subpaths = Object.keys(manifest.exports).filter((subpath) => !subpath.endsWith(".json"))

    // Packed in a copy: what lies in "dist" is let alone.
    const project = join(folder, "project")
    await mkdir(project)
    for (const file of ["package.json", "tsconfig.json", "src", "README.md", "LICENSE", "CHANGELOG.md"]) {
      await cp(join(root, file), join(project, file), { recursive: true })
    }
    await symlink(await realpath(join(root, "node_modules")), join(project, "node_modules"))
    await npm(project, "pack", "--pack-destination", folder)
    tarball = join(folder, (await readdir(folder)).find((file) => file.endsWith(".tgz")) ?? "")

    // Without a registry: peers are those of this project.
    consumer = join(folder, "consumer")
    installed = join(consumer, "node_modules", "eventfold")
    await mkdir(consumer)
    await writeFile(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
    await npm(consumer, "install", "--offline", "--legacy-peer-deps", "--no-audit", "--no-fund", tarball)
    for (const peer of Object.keys(manifest.peerDependencies)) {
      const link = join(consumer, "node_modules", peer)
      await mkdir(dirname(link), { recursive: true })
      await symlink(await realpath(join(root, "node_modules", peer)), link)
    }
  }, 120_000)

  afterAll(() => rm(folder, { recursive: true }))

  it("exports the core and each wing of src that has an index, and nothing that is not there", async () => {
    const subpaths: Array<string> = []
    for (const entry of await readdir(join(root, "src"), { withFileTypes: true })) {
      if (entry.isDirectory() && existsSync(join(root, "src", entry.name, "index.ts"))) subpaths.push(`./${entry.name}`)
    }
    expect(Object.keys(manifest.exports).toSorted()).toEqual([".", "./package.json", ...subpaths].toSorted())
    for (const [subpath, target] of Object.entries(manifest.exports)) {
      if (typeof target === "string") continue
      const name = subpath === "." ? "index" : `${subpath.slice(2)}/index`
      expect(target).toEqual({
        "@eventfold/source": `./src/${name}.ts`,
        types: `./dist/${name}.d.ts`,
        default: `./dist/${name}.js`
      })
      for (const file of Object.values(target)) expect((await stat(join(installed, file))).isFile()).toBe(true)
    }
  })

  it("has a command line that runs, and says what it lacks", async () => {
    const bin = join(consumer, "node_modules", ".bin", "eventfold")
    expect(await node(consumer, bin, "--version")).toBe(`eventfold ${manifest.version}\n`)
    expect(await node(consumer, bin, "--completions", "bash")).toContain("dead-letters")
    await promisify(execFile)(process.execPath, [bin, "migrate", "sqlite:shop.sqlite"], { cwd: consumer })
    expect(await node(consumer, bin, "streams", "sqlite:shop.sqlite")).toBe("There are no such streams.\n")
    const peer = join(consumer, "node_modules", "@effect", "platform-node")
    const target = await realpath(peer)
    await rm(peer)
    await expect(node(consumer, bin, "--version")).rejects.toThrow("npm install @effect/platform-node")
    await symlink(target, peer)
  })

  it("holds what it says, and no more", async () => {
    expect((await readdir(installed)).toSorted()).toEqual(["LICENSE", "README.md", "package.json", ...manifest.files].toSorted())
  })

  it("has a script, a declaration and both maps of every module, and no script imports TypeScript", async () => {
    const isOfPage = (file: string) => file.startsWith(join("operate", "inspector"))
    const modules = (await readdir(join(root, "src"), { recursive: true })).filter(
      (file) => file.endsWith(".ts") && !isOfPage(file)
    )
    const emitted = (await readdir(join(installed, "dist"), { recursive: true })).filter(
      (file) => /\.\w+$/.test(file) && !isOfPage(file)
    )
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

  it("has the inspector's page as it is built now, and no more than it may weigh", async () => {
    const fresh = join(folder, "page")
    const parts = await build(fresh)
    const packed = join(installed, "dist", "operate", "inspector")
    expect((await readdir(packed)).toSorted()).toEqual(parts.map(({ file }) => file))
    for (const { file } of parts) {
      const same = (await readFile(join(packed, file))).equals(await readFile(join(fresh, file)))
      expect([file, same]).toEqual([file, true])
    }
    expect(parts.find(({ file }) => file === "inspector.js")?.compressed).toBeLessThan(most)
  })

  it("has nothing that publint finds fault with", async () => {
    const { messages } = await publint({ pkgDir: installed, pack: false, strict: true })
    expect(messages).toEqual([])
  })

  it("has types that resolve wherever ES modules do", async () => {
    const attw = join(root, "node_modules", "@arethetypeswrong", "cli", "dist", "index.js")
    const { analysis } = JSON.parse(await node(folder, attw, tarball, "--profile", "esm-only", "--format", "json")) as {
      readonly analysis: {
        readonly entrypoints: Readonly<Record<string, unknown>>
        readonly problems: ReadonlyArray<{ readonly kind: string; readonly resolutionKind?: string }>
      }
    }
    expect(Object.keys(analysis.entrypoints).toSorted()).toEqual(Object.keys(manifest.exports).toSorted())
    // The profile passes over node10, which knows no "exports", and over require() before Node 22.12.
    const passedOver = ["node10", "node16-cjs"]
    expect(analysis.problems.filter(({ resolutionKind }) => !passedOver.includes(resolutionKind ?? ""))).toEqual([])
  })

  describe("in a program that uses each subpath", () => {
    beforeAll(async () => {
      const imports = subpaths.map((subpath, index) => `import * as module${index} from "eventfold${subpath.slice(1)}"`)
      const program = `
        import * as Effect from "effect/Effect"
        import type * as Layer from "effect/Layer"
        import { EventStore } from "eventfold"
        import { PgEventStore } from "eventfold/postgres"
        import { Scenario } from "eventfold/testing"
        ${imports.join("\n")}

        export const head: Effect.Effect<number, EventStore.EventStoreError, EventStore.EventStore> = EventStore.head
        // @ts-expect-error: a position is a number
        export const text: Effect.Effect<string, EventStore.EventStoreError, EventStore.EventStore> = EventStore.head
        export const postgres: Layer.Success<ReturnType<typeof PgEventStore.layerWith>> extends EventStore.EventStore ? true : never = true
        // @ts-expect-error: a list of events, not a word
        Scenario.bus(EventStore.layerMemory).given("events")

        const modules: ReadonlyArray<object> = [${imports.map((_, index) => `module${index}`).join(", ")}]
        const append = EventStore.append("Account-1", [{ type: "AccountOpened", payload: {} }])
        const result = await Effect.runPromise(Effect.provide(append, EventStore.layerMemory))
        console.log(JSON.stringify({ modules: modules.map((module) => Object.keys(module)), result }))`
      await writeFile(join(consumer, "main.ts"), program)
    })

    it.each([
      ["nodenext", { module: "nodenext" }],
      ["bundler", { module: "preserve", moduleResolution: "bundler" }]
    ])("is typed, resolved as by %s", async (_, options) => {
      const compilerOptions = {
        ...options,
        target: "es2024",
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        skipLibCheck: true,
        typeRoots: [join(root, "node_modules", "@types")],
        types: ["node"]
      }
      await writeFile(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }))
      const resolutions = await node(consumer, tsc, "--traceResolution")
      expect(resolutions).toContain("eventfold/dist/index.d.ts' with Package ID 'eventfold")
      expect(resolutions).not.toContain("eventfold/src/")
    })

    it("has declarations that are sound by themselves", async () => {
      const compilerOptions = {
        module: "nodenext",
        target: "es2024",
        lib: ["es2024", "dom", "dom.iterable", "esnext.disposable"],
        strict: true,
        noEmit: true,
        typeRoots: [join(root, "node_modules", "@types")],
        types: ["node"]
      }
      await writeFile(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }))
      expect(await node(consumer, tsc)).toBe("")
    })

    it("runs in plain Node", async () => {
      const { modules, result } = JSON.parse(await node(consumer, "main.ts")) as {
        readonly modules: ReadonlyArray<ReadonlyArray<string>>
        readonly result: object
      }
      expect(result).toEqual({ stream: "Account-1", version: 1, position: 1, deduplicated: false })
      expect(modules).toHaveLength(subpaths.length)
      for (const names of modules) expect(names).not.toEqual([])
    })
  })

  describe("bundled for a browser", () => {
    /** The bundle of a program of the consumer, as one script. */
    const bundle = async (name: string, program: string): Promise<OutputChunk> => {
      const input = join(consumer, `${name}.js`)
      await writeFile(input, program)
      const build = await rolldown({ input, cwd: consumer, platform: "browser", logLevel: "silent" })
      const { output } = await build.generate({ format: "iife", name: "bundle", minify: true, codeSplitting: false })
      await build.close()
      expect(output).toHaveLength(1)
      return output[0]
    }

    /** The modules of eventfold whose code is in a bundle. */
    const modulesIn = (chunk: OutputChunk): ReadonlyArray<string> =>
      Object.entries(chunk.modules).flatMap(([id, { renderedLength }]) => {
        const module = /\/eventfold\/dist\/(.*)\.js$/.exec(id)?.[1]
        return module === undefined || renderedLength === 0 ? [] : [module]
      })

    it("the core takes no driver along, nor anything of Node, and runs", async () => {
      const chunk = await bundle(
        "everything",
        `import * as Effect from "effect/Effect"
         import * as Stream from "effect/Stream"
         import * as eventfold from "eventfold"
         const { EventStore } = eventfold
         const program = Effect.gen(function* () {
           yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
           const events = yield* Stream.runCollect(EventStore.subscribe().pipe(Stream.take(1)))
           return events.map(({ payload, version }) => [version, payload.owner])
         })
         export const modules = Object.keys(eventfold)
         export const result = Effect.runPromise(Effect.provide(program, EventStore.layerMemory))`
      )
      expect(chunk.imports).toEqual([])
      expect(chunk.dynamicImports).toEqual([])
      expect(chunk.code).not.toMatch(/["']node:|require\(/)
      const drivers = Object.keys(manifest.peerDependencies).filter((peer) => peer !== "effect")
      const rooms = subpaths.slice(1).map((subpath) => `/eventfold/dist/${subpath.slice(2)}/`)
      const strange = chunk.moduleIds.filter(
        (id) => rooms.some((room) => id.includes(room)) || drivers.some((driver) => id.includes(`/node_modules/${driver}/`))
      )
      expect(strange).toEqual([])

      // What a page has, and nothing else: no process, no Buffer, no require.
      const page = createContext({
        AbortController,
        TextDecoder,
        TextEncoder,
        URL,
        clearTimeout,
        console,
        crypto,
        performance,
        queueMicrotask,
        setTimeout
      })
      new Script(chunk.code).runInContext(page)
      const { modules, result } = page["bundle"] as { readonly modules: ReadonlyArray<string>; readonly result: Promise<unknown> }
      expect(JSON.stringify(await result)).toBe('[[1,"Ada"]]')
      expect(Array.from(modules).toSorted()).toEqual(Object.keys(eventfold).toSorted())
    })

    it("takes along what is used, and no more", async () => {
      const definitions = await bundle(
        "definitions",
        `import * as Schema from "effect/Schema"
         import { Aggregate, Event } from "eventfold"
         const Deposited = Event.make("Deposited", { amount: Schema.Int })
         const Account = Aggregate.make("Account", { events: [Deposited], initial: 0, evolve: { Deposited: (sum, { amount }) => sum + amount } })
         export const balance = Aggregate.fold(Account, [Deposited.make({ amount: 5 })])`
      )
      expect(modulesIn(definitions).toSorted()).toEqual([
        "definitions/Aggregate",
        "definitions/Event",
        "definitions/annotations",
        "definitions/asts",
        "definitions/fingerprint",
        "definitions/jsonCodec",
        "definitions/listing",
        "internal/exactJson",
        "internal/freeze"
      ])
      const page = createContext({ TextEncoder, crypto })
      new Script(definitions.code).runInContext(page)
      expect(page["bundle"]).toHaveProperty("balance", 5)

      const all = await bundle("all", `export * from "eventfold"`)
      expect(modulesIn(all)).toEqual(
        expect.arrayContaining(["definitions/Event", "store/service", "deciding/MessageBus", "following/Subscription"])
      )
      // Most of what is left of a small program is the Schema of Effect.
      expect(definitions.code.length).toBeLessThan(all.code.length / 2)
    })

    it("the contract of operations takes no store along", async () => {
      const contract = await bundle(
        "operations",
        `import { Operations } from "eventfold/operate"
         export const tags = Array.from(Operations.Operations.requests.keys())`
      )
      expect(modulesIn(contract).filter((module) => !module.startsWith("operate/contract/"))).toEqual(["operate/Operations"])
      expect(contract.imports).toEqual([])
    })
  })
})
