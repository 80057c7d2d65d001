import { describe, expect, it } from "vitest"
import { type Exported, exportsOf, packageExports } from "./support/exports.ts"

/** The names of what has no sentence that says what it is. A name that several declarations share needs one. */
const silent = (all: ReadonlyArray<Exported>): ReadonlyArray<string> => {
  const spoken = new Set(all.filter(({ text }) => /^[^a-z][^]*[.:]/.test(text)).map(({ kind, name }) => `${kind} ${name}`))
  return all
    .filter(({ internal, kind, name }) => !internal && !spoken.has(`${kind} ${name}`))
    .map(({ kind, name, place }) => `${place} ${kind} ${name}`)
}

const saysDefault = (text: string) => /\bdefaults?\b/i.test(text)

/** The fields of options that do not say what they mean, or what holds where they are left out. */
const untold = (all: ReadonlyArray<Exported>): ReadonlyArray<string> =>
  all.flatMap(({ fields, name, place }) =>
    fields
      .filter(({ around = "", name, optional, text }) => {
        const told = around.includes(`\`${name}\``) ? `${around} ${text}` : text
        return told === "" || told.startsWith("Default:") || (optional && !saysDefault(told))
      })
      .map((field) => `${place} ${name}: ${field.name}`)
  )

describe("the reference", () => {
  const subpaths = packageExports()

  it("has all that one can import", async () => {
    const modules = {
      eventfold: await import("eventfold"),
      "eventfold/kit": await import("eventfold/kit"),
      "eventfold/testing": await import("eventfold/testing"),
      "eventfold/sqlite": await import("eventfold/sqlite"),
      "eventfold/jsonl": await import("eventfold/jsonl")
    }
    for (const [subpath, module] of Object.entries(modules)) {
      const values = Object.entries(module).flatMap(([name, value]) =>
        Object.prototype.toString.call(value) === "[object Module]"
          ? Object.keys(value).map((inner) => `${name}.${inner}`)
          : [name]
      )
      const found = new Set(subpaths[subpath]?.filter(({ kind }) => kind === "value").map(({ name }) => name))
      expect([...found].toSorted()).toEqual(values.toSorted())
    }
  })

  it.each(Object.entries(subpaths))("%s says of each export what it is", (_, all) => {
    expect(silent(all)).toEqual([])
  })

  it.each(Object.entries(subpaths))("%s says of each option what it means, and its default", (_, all) => {
    expect(untold(all)).toEqual([])
  })
})

describe("the test of the reference", () => {
  const files: Readonly<Record<string, string>> = {
    "src/index.ts": `export * as Thing from "./thing/Thing.ts"\nexport { own as other } from "./own.ts"`,
    "src/own.ts": `const own = 1\nexport { own }`,
    "src/thing/Thing.ts": [
      `/** The things. */`,
      `import { inside } from "./inside.ts"`,
      `/**\n * @category models\n */\nexport interface Options {\n  /** How many. */\n  readonly count?: number\n  /** How long. Default: 1 second. */\n  readonly time?: number\n  /** Default: 1. */\n  readonly mute?: number\n  readonly must: string\n}`,
      `/** Makes a thing. */\nexport const make = (options: Options) => options`,
      `/** Takes \`last\` (default: 1). */\nexport const take = (options?: { readonly first?: number; readonly last?: number }) => options`,
      `/** The inside. */\nexport { inside }`,
      `/** Only a type: of all. */\nexport type All = string`,
      `/** A value. */\nexport const All = ""`,
      `/** @internal */\nexport const hidden = ""`
    ].join("\n"),
    "src/thing/inside.ts": `export function inside() {}`
  }
  const all = exportsOf("src/index.ts", (file) => files[file] ?? "")

  it("finds what is exported, by the name that a user writes", () => {
    expect(all.map(({ kind, name, place }) => [name, kind, place])).toEqual([
      ["Thing.Options", "type", "src/thing/Thing.ts:6"],
      ["Thing.make", "value", "src/thing/Thing.ts:16"],
      ["Thing.take", "value", "src/thing/Thing.ts:18"],
      ["Thing.inside", "value", "src/thing/inside.ts:1"],
      ["Thing.All", "type", "src/thing/Thing.ts:22"],
      ["Thing.All", "value", "src/thing/Thing.ts:24"],
      ["Thing.hidden", "value", "src/thing/Thing.ts:26"],
      ["other", "value", "src/own.ts:1"]
    ])
  })

  it("finds what says nothing", () => {
    expect(silent(all)).toEqual(["src/thing/Thing.ts:6 type Thing.Options", "src/own.ts:1 value other"])
    expect(untold(all)).toEqual([
      "src/thing/Thing.ts:6 Thing.Options: count",
      "src/thing/Thing.ts:6 Thing.Options: mute",
      "src/thing/Thing.ts:6 Thing.Options: must",
      "src/thing/Thing.ts:18 Thing.take: first"
    ])
  })
})
