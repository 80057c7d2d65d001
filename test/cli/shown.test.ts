import assert from "node:assert/strict"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { CliOutput } from "effect/cli"
import { expect } from "vitest"
import { acts } from "./stub.ts"
import { eventfold } from "./support.ts"

const golden = (name: string) => join(fileURLToPath(new URL("golden", import.meta.url)), `${name}.txt`)

/** Each verb that shows something, by the name of the file that holds what it shows. */
const shown: Readonly<Record<string, ReadonlyArray<string>>> = {
  streams: ["streams", "test/cli/stub.ts"],
  newest: ["streams", "test/cli/stub.ts", "--newest", "--limit", "3"],
  read: ["read", "test/cli/stub.ts", "Order-1007"],
  detail: ["read", "test/cli/stub.ts", "3"],
  tail: ["tail", "test/cli/stub.ts"],
  trail: ["trail", "test/cli/stub.ts", "e-3"],
  state: ["state", "test/cli/stub.ts", "Order-1007", "--version", "2"],
  difference: ["state", "test/cli/stub.ts", "Order-1007", "--diff"],
  followers: ["followers", "test/cli/stub.ts"],
  lag: ["lag", "test/cli/stub.ts"],
  parked: ["parked", "list", "test/cli/stub.ts"],
  letters: ["dead-letters", "list", "test/cli/stub.ts"],
  deadlines: ["deadlines", "test/cli/stub.ts"],
  projections: ["projections", "list", "test/cli/stub.ts"]
}

describe("what a person sees", () => {
  for (const columns of [80, 160]) {
    it.effect.each(Object.entries(shown))(`%s, in ${columns} columns`, ([name, words]) =>
      Effect.gen(function* () {
        const { code, out } = yield* eventfold(words, { columns })
        yield* Effect.promise(() => expect(out).toMatchFileSnapshot(golden(`${name}-${columns}`)))
        const lines = out.split("\n").filter((line) => !line.startsWith("Next: "))
        for (const line of lines) assert.ok(CliOutput.displayWidth(line) <= columns, line)
        assert.equal(code, 0)
      })
    )
  }

  it.effect("has colours on a terminal, and the same text", () =>
    Effect.gen(function* () {
      for (const words of Object.values(shown)) {
        const plain = yield* eventfold(words)
        const coloured = yield* eventfold(words, { isColoured: true })
        assert.notEqual(coloured.out, plain.out)
        // oxlint-disable-next-line no-control-regex
        assert.equal(coloured.out.replace(/\u001b\[\d*m/g, "").replace(/ +$/gm, ""), plain.out)
        assert.equal((yield* eventfold([...words, "--no-color"], { isColoured: true })).out, plain.out)
      }
    })
  )

  it.effect("is never moved or turned by what stands in the store", () =>
    Effect.gen(function* () {
      for (const words of Object.values(shown)) {
        for (const more of [[], ["--json"]]) {
          const { err, out } = yield* eventfold([...words, ...more], { columns: 160 })
          // oxlint-disable-next-line no-control-regex
          assert.doesNotMatch(out + err, /[\u0000-\u0009\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069]/)
        }
      }
    })
  )
})

describe("what a script reads", () => {
  it.effect.each(Object.entries(shown))("%s, as JSON", ([name, words]) =>
    Effect.gen(function* () {
      const { code, err, out } = yield* eventfold([...words, "--json"])
      yield* Effect.promise(() => expect(out).toMatchFileSnapshot(golden(`${name}-json`)))
      for (const line of out.trimEnd().split("\n")) assert.equal(typeof JSON.parse(line), "object")
      for (const line of err.split("\n")) if (line !== "") assert.deepEqual(Object.keys(JSON.parse(line) as object), ["next"])
      assert.equal(code, 0)
    })
  )

  it.effect("turns pages, and says where it stopped", () =>
    Effect.gen(function* () {
      const first = yield* eventfold(["streams", "test/cli/stub.ts", "--limit", "3", "--json"])
      assert.equal(first.out.trimEnd().split("\n").length, 3)
      const { next } = JSON.parse(first.err) as { readonly next: string }
      const second = yield* eventfold(["streams", "test/cli/stub.ts", "--after", next, "--json"])
      assert.equal(second.out.trimEnd().split("\n").length, 2)
      assert.equal(second.err, "")
      const all = yield* eventfold(["streams", "test/cli/stub.ts", "--json"])
      assert.equal(first.out + second.out, all.out)
      assert.equal((yield* eventfold(["streams", "test/cli/stub.ts", "--limit", "3"])).err, `There is more: --after ${next}\n`)
    })
  )

  it.effect("hears each step of an act", () =>
    Effect.gen(function* () {
      const { code, out } = yield* eventfold(["projections", "rebuild", "test/cli/stub.ts", "Sales@2", "--json"])
      const steps = out
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { readonly _tag: string })._tag)
      assert.deepEqual(steps, ["Asked", "Taken", "Progress", "Done"])
      assert.equal(code, 0)
    })
  )
})

describe("acts", () => {
  it.effect("are what the words say", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, ReadonlyArray<object>]> = [
        [["follower", "pause", "test/cli/stub.ts", "mails"], [{ _tag: "Pause", follower: "mails" }]],
        [["follower", "resume", "test/cli/stub.ts", "mails"], [{ _tag: "Resume", follower: "mails" }]],
        [["follower", "remove", "test/cli/stub.ts", "mails", "--yes"], [{ _tag: "RemoveFollower", follower: "mails" }]],
        [["parked", "retry", "test/cli/stub.ts", "mails", "54"], [{ _tag: "Retry", follower: "mails", position: 54 }]],
        [
          ["parked", "discard", "test/cli/stub.ts", "mails", "--all", "--yes"],
          [54, 61, 90].map((position) => ({ _tag: "Discard", follower: "mails", position }))
        ],
        [["dead-letters", "retry", "test/cli/stub.ts", "billing", "m-1"], [{ _tag: "RetryLetter", group: "billing", id: "m-1" }]],
        [
          ["dead-letters", "discard", "test/cli/stub.ts", "billing", "--all", "-y"],
          [{ _tag: "DiscardLetter", group: "billing", id: "m-1" }]
        ],
        [["projections", "rebuild", "test/cli/stub.ts", "Sales@2"], [{ _tag: "Rebuild", projection: "Sales", version: 2 }]],
        [["projections", "switch", "test/cli/stub.ts", "Sales@2"], [{ _tag: "Switch", projection: "Sales", version: 2 }]],
        [["projections", "drop", "test/cli/stub.ts", "Sales@1", "--yes"], [{ _tag: "Drop", projection: "Sales", version: 1 }]]
      ]
      for (const [words, expected] of cases) {
        const before = acts.length
        const { code, err, out } = yield* eventfold(words)
        assert.deepEqual([code, err], [0, ""], words.join(" "))
        assert.match(out, / was done\.\n$/)
        assert.deepEqual(acts.slice(before), expected)
      }
      assert.equal(
        (yield* eventfold(["parked", "retry", "test/cli/stub.ts", "nothing", "--all"])).out,
        "nothing has nothing parked.\n"
      )
    })
  )

  it.effect("draw a bar on a terminal, and none elsewhere", () =>
    Effect.gen(function* () {
      const words = ["projections", "rebuild", "test/cli/stub.ts", "Sales@2"]
      const { err } = yield* eventfold(words, { isAnimated: true })
      assert.match(err, /^\rSales@2 {2}█{20}░{10} {3}67 % {2}670 of 1,000/)
      assert.ok(err.endsWith("\r\u001b[K"))
      assert.equal((yield* eventfold(words)).err, "")
    })
  )
})

describe("what goes wrong", () => {
  const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string, string]> = [
    [["stremas", "x"], 2, "UnknownSubcommand", 'Unknown subcommand "stremas" for "eventfold" Did you mean this? streams'],
    [
      ["parked", "test/cli/stub.ts"],
      2,
      "UnknownSubcommand",
      'Unknown subcommand "test/cli/stub.ts" for "eventfold parked", which has list, retry, discard'
    ],
    [["streams"], 2, "MissingArgument", "Missing required argument: url"],
    [
      ["streams", "test/cli/stub.ts", "--limit", "many"],
      2,
      "InvalidValue",
      'Invalid value for flag --limit: "many". Expected: a whole number'
    ],
    [
      ["streams", "test/cli/stub.ts", "--limit", "0"],
      2,
      "InvalidValue",
      'Invalid value for flag --limit: "0". Expected: a whole number from 1'
    ],
    [
      ["tail", "test/cli/stub.ts", "--since", "5"],
      2,
      "InvalidValue",
      'Invalid value for flag --since: "5". Expected: a time as 2025-09-01T09:15:07Z, or how long ago as 1h'
    ],
    [
      ["tail", "test/cli/stub.ts", "--since", "foo 3"],
      2,
      "InvalidValue",
      'Invalid value for flag --since: "foo 3". Expected: a time as 2025-09-01T09:15:07Z, or how long ago as 1h'
    ],
    [
      ["tail", "test/cli/stub.ts", "--since", "2025-02-30"],
      2,
      "InvalidValue",
      'Invalid value for flag --since: "2025-02-30". Expected: a time as 2025-09-01T09:15:07Z, or how long ago as 1h'
    ],
    [
      ["state", "test/cli/stub.ts", "Order-1", "--version", "2", "--at", "2020-01-01"],
      2,
      "UsageError",
      "This takes --version or --at, and not both."
    ],
    [
      ["projections", "drop", "test/cli/stub.ts", "a@99999999999999999999", "--yes"],
      2,
      "InvalidValue",
      'Invalid value for argument <name@version>: "a@99999999999999999999". Expected: a projection with its version, as Sales@2'
    ],
    [
      ["tail", "test/cli/stub.ts", "--since", "yesterday"],
      2,
      "InvalidValue",
      'Invalid value for flag --since: "yesterday". Expected: a time as 2025-09-01T09:15:07Z, or how long ago as 1h'
    ],
    [
      ["streams", "mysql://ada:hunter2@db/x"],
      2,
      "UsageError",
      '"mysql://ada:***@db/x" is none of postgres://…, sqlite:file, jsonl:file, pglite:folder, http://…, or the path of a module.'
    ],
    [
      ["streams", " "],
      2,
      "UsageError",
      "It is not said what the verb is about: postgres://…, sqlite:file, jsonl:file, pglite:folder, http://…, or the path of a module."
    ],
    [["streams", "sqlite:"], 2, "UsageError", '"sqlite:" names no file: sqlite:path.'],
    [
      ["streams", "postgres://ada:hun/ter@[2@db"],
      2,
      "UsageError",
      '"postgres://ada:***@db" is no URL: a password has its special characters percent-encoded.'
    ],
    [
      ["streams", "nope.ts"],
      4,
      "UnavailableError",
      "There is no file nope.ts. What a verb is about is postgres://…, sqlite:file, jsonl:file, pglite:folder, http://…, or the path of a module."
    ],
    [["read", "test/cli/stub.ts", "Order-9"], 3, "NotFoundError", "There is no stream and no event Order-9."],
    [["read", "test/cli/stub.ts", "99"], 3, "NotFoundError", "There is no stream and no event 99."],
    [["trail", "test/cli/stub.ts", "x\u202Ey"], 3, "NotFoundError", "There is no conversation and no event x\\u202ey."],
    [["trail", "test/cli/stub.ts", "e-7"], 2, "UsageError", "The event e-7 has no correlation id: it stands alone."],
    [["state", "test/cli/stub.ts", "Payment-1"], 2, "NotRegisteredError", "The shop has no such thing."],
    [["state", "test/cli/stub.ts", "Order-1007", "--version", "9"], 3, "NotFoundError", "Order-1007 has no such version."],
    [["doctor", "test/cli/stub.ts"], 5, "RefusedError", "1 problem found."],
    [["verify", "test/cli/stub.ts"], 5, "RefusedError", "The store is not as it should be: 1 finding."],
    [["follower", "pause", "test/cli/stub.ts", "gone"], 3, "NotFoundError", "There is no follower gone."],
    [["follower", "pause", "test/cli/stub.ts", "forbidden"], 4, "NotAllowedError", "Acts are not allowed here."],
    [["follower", "pause", "test/cli/stub.ts", "refused"], 5, "RefusedError", "refused is not parked any more."],
    [
      ["follower", "pause", "test/cli/stub.ts", "nobody"],
      6,
      "NobodyTookError",
      "Nobody runs nobody: it was not taken within 10 s."
    ],
    [["parked", "discard", "test/cli/stub.ts", "mails", "54"], 2, "UsageError", "This needs --yes where no person can be asked."],
    [["parked", "retry", "test/cli/stub.ts", "mails"], 2, "UsageError", "This takes the position of a parked event, or --all."],
    [
      ["parked", "retry", "test/cli/stub.ts", "mails", "54", "--all"],
      2,
      "UsageError",
      "This takes the position of a parked event, or --all."
    ],
    [
      ["projections", "switch", "test/cli/stub.ts", "Sales"],
      2,
      "InvalidValue",
      'Invalid value for argument <name@version>: "Sales". Expected: a projection with its version, as Sales@2'
    ]
  ]

  it.effect.each(cases)("%j ends with %i", ([words, code, tag, message]) =>
    Effect.gen(function* () {
      const human = yield* eventfold(words)
      // Behind the colon a sentence goes on; a name stays as it is.
      const [word = ""] = message.split(/[ ,]/)
      const told = /^[A-Z][a-z]*$/.test(word) ? `${message.charAt(0).toLowerCase()}${message.slice(1)}` : message
      assert.deepEqual([human.code, human.err], [code, `eventfold: ${told}\n`])
      const script = yield* eventfold([...words, "--json"])
      assert.deepEqual([script.code, JSON.parse(script.err)], [code, { error: { tag, message } }])
    })
  )

  it.effect("an act whose end was not heard of may have been done", () =>
    Effect.gen(function* () {
      const { code, err } = yield* eventfold(["follower", "pause", "test/cli/stub.ts", "away", "--json"])
      const { message, tag } = (JSON.parse(err) as { readonly error: { readonly tag: string; readonly message: string } }).error
      assert.deepEqual([code, tag], [4, "UnavailableError"])
      assert.match(
        message,
        /^The act [0-9a-f-]{36} was taken by be117b11, and may have been done, or be done yet \(The database does not answer\)\. Its record tells: eventfold read test\/cli\/stub\.ts '\$operations' --backward$/
      )
    })
  )

  it.effect("of what the doctor says, each line names what it is about", () =>
    Effect.gen(function* () {
      const { out } = yield* eventfold(["doctor", "test/cli/stub.ts"])
      assert.deepEqual(out.split("\n"), [
        "✓ tables: The tables are as the library's.",
        "✗ pool: pool of 4, and 3 listeners: at least 6 are needed, or reads wait for ever",
        "    → PgClient.layer({ maxConnections: 10 })",
        "! index: no index on correlation ids",
        ""
      ])
    })
  )

  it.effect("takes the store from EVENTFOLD_URL, unless a word names one", () =>
    Effect.gen(function* () {
      const url = "sqlite:of the environment"
      const named = yield* eventfold(["read", "test/cli/stub.ts", "Order-1007", "--json"])
      assert.equal((yield* eventfold(["read", "Order-1007", "--json"], { url })).out, named.out)
      assert.equal((yield* eventfold(["read", "test/cli/stub.ts", "Order-1007", "--json"], { url })).out, named.out)
      assert.match(
        (yield* eventfold(["followers"], { url })).out,
        /resume 'sqlite:of the environment' subscription:warehouse-labels/
      )
      assert.match(
        (yield* eventfold(["followers"], { url: "postgres://ada:hunter2@db" })).out,
        /resume <url> subscription:warehouse-labels/
      )
    })
  )

  it.effect("shows help where a verb is missing, and where it is asked for", () =>
    Effect.gen(function* () {
      const missing = yield* eventfold(["parked"])
      assert.deepEqual([missing.code, missing.err], [2, ""])
      const asked = yield* eventfold(["parked", "--help"])
      assert.deepEqual([asked.code, asked.out], [0, missing.out])
      assert.deepEqual(yield* eventfold(["--version"]), { code: 0, out: "eventfold 0.0.0\n", err: "" })
    })
  )
})
