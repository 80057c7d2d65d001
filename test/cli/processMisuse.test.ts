/** The command line as a process, where it is given what it cannot use: a line that says so, and the exit code that is documented. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "eventfold"
import { SqliteEventStore } from "eventfold/sqlite"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, openSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { temporaryDirectory } from "../support/files.ts"
import { eventfold, root } from "./running.ts"

const shop = "test/cli/processes/shop.ts"

/** A file of SQLite with a stream that has a number for its name, and one that is called as a module is. */
const stored = Effect.gen(function* () {
  const folder = yield* temporaryDirectory
  const filename = join(folder, "shop.sqlite")
  const append = (stream: string, type: string) => EventStore.append(stream, [{ type, payload: {} }])
  const all = Effect.andThen(append("12345", "Counted"), Effect.andThen(append("2", "Numbered"), append("notes.ts", "Noted")))
  yield* Effect.provide(all, SqliteEventStore.layerFile({ filename }))
  return { folder, filename, url: `sqlite:${filename}` }
})

describe("what cannot be used", () => {
  it.live("is wrong use where it is the wrong thing", () =>
    Effect.gen(function* () {
      const { folder, filename, url } = yield* stored
      const isFolder = new RegExp(`^eventfold: ${folder} is a folder\\..*\\n$`)
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]> = [
        [["streams", folder], isFolder],
        [["streams", `sqlite:${folder}`], isFolder],
        [["streams", `jsonl:${folder}`], isFolder],
        [["copy", url, `jsonl:${folder}`], isFolder],
        [["import", url, folder], isFolder],
        [["streams", filename], new RegExp(`^eventfold: ${filename} is no module\\. .*sqlite:${filename}`)],
        [
          ["inspect", url, "--port", "99999"],
          /^eventfold: invalid value for flag --port: "99999"\. Expected: a port, from 0 to 65535\n$/
        ],
        [["read", url, "notes.ts", "--as", "position"], /^eventfold: a position is a whole number\.\n$/]
      ]
      for (const [words, line] of cases) {
        const { code, err, out } = yield* eventfold(words)
        assert.deepEqual([code, out], [2, ""], words.join(" "))
        assert.match(err, line)
      }
      const file = yield* eventfold(["schema", shop, "--out", filename])
      assert.equal(file.code, 4)
      assert.match(file.err, /^eventfold: EEXIST: .*shop\.sqlite'\n$/)
    })
  )

  it.live("is out of reach where it does not load, or its port is another's", () =>
    Effect.gen(function* () {
      const { folder, url } = yield* stored
      const effect = JSON.stringify(pathToFileURL(join(root, "node_modules/effect/dist/index.js")).href)
      const modules: Readonly<Record<string, readonly [string, RegExp]>> = {
        "throws.ts": ["throw new Error('no\\nsecret')", /^eventfold: \S+throws\.ts cannot be loaded: no secret\n$/],
        "null.ts": ["throw null", /^eventfold: \S+null\.ts cannot be loaded: null\n$/],
        "missing.ts": [
          "import './gone.ts'",
          /^eventfold: \S+missing\.ts cannot be loaded: Cannot find module \S+gone\.ts' .*\n$/
        ],
        "broken.ts": ["const = 1", /^eventfold: \S+broken\.ts cannot be loaded: .+\n$/],
        "layer.ts": [
          `import { Effect, Layer } from ${effect}\nexport const layer = Layer.effectDiscard(Effect.fail(new Error('no printer')))`,
          /^eventfold: no printer\n$/
        ]
      }
      for (const [name, [text, line]] of Object.entries(modules)) {
        const module = join(folder, name)
        yield* Effect.promise(() => writeFile(module, text))
        const { code, err, out } = yield* eventfold(["streams", module])
        assert.deepEqual([code, out], [4, ""], name)
        assert.match(err, line)
      }
      const other = createServer()
      yield* Effect.promise(() => new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve)))
      yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
      const { port } = other.address() as { readonly port: number }
      const taken = yield* eventfold(["inspect", url, "--port", String(port)])
      assert.deepEqual([taken.code, taken.out], [4, ""])
      assert.match(taken.err, /^eventfold: listen EADDRINUSE: address already in use \S+\n$/)
    })
  )

  it.live("is given up within --timeout where it does not come to the end of its loading", () =>
    Effect.gen(function* () {
      const module = join(yield* temporaryDirectory, "slow.ts")
      yield* Effect.promise(() => writeFile(module, "await new Promise((resolve) => setTimeout(resolve, 600_000))\nexport {}\n"))
      for (const words of [
        ["streams", module],
        ["inspect", module, "--port", "0"],
        ["schema", module]
      ]) {
        const { code, err, out } = yield* eventfold([...words, "--timeout", "500ms"])
        assert.deepEqual([code, out], [4, ""], words.join(" "))
        assert.match(err, /^eventfold: no answer from \S+slow\.ts within 500ms: see --timeout\.\n$/)
      }
    })
  )

  it.live("is an act on a file of JSON lines, which one process alone writes to: nothing is waited for", () =>
    Effect.gen(function* () {
      const { folder, url } = yield* stored
      const lines = `jsonl:${join(folder, "copy.jsonl")}`
      assert.equal((yield* eventfold(["copy", url, lines])).code, 0)
      const { code, err, out } = yield* eventfold(["parked", "retry", lines, "mails", "1", "--timeout", "10m"])
      assert.deepEqual([code, out], [5, ""])
      assert.equal(
        err,
        "eventfold: a file of JSON lines has one process that writes to it: ask that one, at the address where it serves.\n"
      )
    })
  )

  it.live.skipIf(!existsSync("/dev/full"))(
    "is an output that cannot be written: that is said, also where the answer is a document",
    () =>
      Effect.gen(function* () {
        const { url } = yield* stored
        const full = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
          const device = openSync("/dev/full", "w")
          const child = spawn(process.execPath, ["--conditions=@eventfold/source", "src/cli/bin.ts", ...words], {
            cwd: root,
            stdio: ["ignore", device, "pipe"],
            env: { ...process.env, NODE_OPTIONS: "" }
          })
          let err = ""
          child.stderr?.on("data", (chunk: Buffer) => (err += chunk.toString()))
          const [code] = yield* Effect.promise(() => once(child, "close"))
          return { code: code as number | null, err }
        })
        for (const words of [["streams", url], ["export", url], ["--help"]]) {
          const { code, err } = yield* full(...words)
          assert.equal(code, 4, words.join(" "))
          assert.match(err, /^eventfold: the output cannot be written: ENOSPC: no space left on device, write\.\n$/)
        }
        const { code, err } = yield* full("streams", url, "--json")
        assert.equal(code, 4)
        assert.equal((JSON.parse(err) as { readonly error: { readonly tag: string } }).error.tag, "OutputError")
      })
  )
})

describe("what may mean one thing or another", () => {
  it.live("is a number: a position if there is one, else the name of a stream, and what --as says", () =>
    Effect.gen(function* () {
      const { url } = yield* stored
      const types = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
        const { code, out } = yield* eventfold(["read", url, ...words, "--json"])
        return [code, ...Array.from(out.matchAll(/"type":"(\w+)"/g), ([, type]) => type)]
      })
      assert.deepEqual(yield* types("12345"), [0, "Counted"])
      assert.deepEqual(yield* types("2"), [0, "Numbered"])
      assert.deepEqual(yield* types("1"), [0, "Counted"])
      assert.deepEqual(yield* types("3"), [0, "Noted"])
      assert.deepEqual(yield* types("2", "--as", "stream"), [0, "Numbered"])
      assert.deepEqual(yield* types("1", "--as", "stream"), [3])
      assert.deepEqual(yield* types("2", "--from", "1"), [0, "Numbered"])
      assert.deepEqual(yield* types("12345", "--as", "position"), [3])
      assert.deepEqual(yield* types("12345", "--as", "event"), [3])
    })
  )

  it.live("is a word that ends as a module does, where EVENTFOLD_URL says what a verb is about", () =>
    Effect.gen(function* () {
      const { url } = yield* stored
      const env = { EVENTFOLD_URL: url }
      assert.match((yield* eventfold(["read", "notes.ts", "--json"], env)).out, /"type":"Noted"/)
      assert.match((yield* eventfold(["streams", "--prefix", "notes.ts", "--json"], env)).out, /"stream":"notes\.ts"/)
      assert.match((yield* eventfold(["streams", shop, "--json"], env)).out, /Order-1/)
      assert.match((yield* eventfold(["read", shop, "Order-1", "--json"], env)).out, /Placed/)
      // What is a URL by itself is no stream, though one is missed.
      const missed = yield* eventfold(["read", url], env)
      assert.deepEqual([missed.code, missed.err], [2, "eventfold: missing required argument: stream | position | event id\n"])
      const reason = yield* eventfold(
        ["follower", "pause", "subscription:x", "--reason", "https://example.org/1", "--timeout", "4s"],
        env
      )
      assert.equal(reason.code, 5, reason.err)
      assert.match(reason.err, /there is no follower "subscription:x"/)
    })
  )

  it.live("is plain where colours are not wanted, help as well", () =>
    Effect.gen(function* () {
      const escape = "\u001b["
      for (const [words, env] of [
        [["streams", "--help", "--no-color"], { FORCE_COLOR: "1" }],
        [["--no-color", "--help"], { FORCE_COLOR: "1" }],
        [["streams", "--help"], { FORCE_COLOR: "1", NO_COLOR: "1" }]
      ] as const) {
        const { code, out } = yield* eventfold(words, env)
        assert.equal(code, 0)
        assert.ok(!out.includes(escape), words.join(" "))
      }
      assert.ok((yield* eventfold(["streams", "--help"], { FORCE_COLOR: "1" })).out.includes(escape))
    })
  )
})
