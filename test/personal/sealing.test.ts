import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import type { Schema } from "effect"
import { Aead, Mac, SecureRandom } from "effect/crypto"
import { Keys, Personal } from "eventfold"
import { describe } from "vitest"
import { makeSealing } from "../../src/personal/sealing.ts"
import { keyOf } from "../../src/personal/subjectKeys.ts"

/** Numbers that are the same in each run. */
const random = (seed: number) => () => {
  seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff
  return seed / 0x7fffffff
}

const samples: ReadonlyArray<Schema.Json> = [
  "text",
  "",
  'quo"te\\',
  "ü😀",
  0,
  -0,
  1.5,
  2 ** 60,
  true,
  null,
  [],
  {},
  ["a", { b: [1] }]
]

/** Any JSON, with envelopes at any depth. */
const anything = (next: () => number, planted: Array<string>, depth = 0): Schema.Json => {
  const kind = Math.floor(next() * (depth > 4 ? 2 : 5))
  const sample = () => samples[Math.floor(next() * samples.length)] as Schema.Json
  if (kind === 0) return sample()
  if (kind === 1) {
    const secret = `secret-${planted.length}-${next()}`
    planted.push(secret)
    return { $personal: { of: next() < 0.5 ? "a" : "b", value: next() < 0.5 ? secret : { secret, more: [sample()] } } }
  }
  if (kind === 2) return Array.from({ length: Math.floor(next() * 4) }, () => anything(next, planted, depth + 1))
  const fields = Array.from({ length: Math.floor(next() * 4) }, (_, index) => [`f${index}`, anything(next, planted, depth + 1)])
  return { a: `s${Math.floor(next() * 3)}`, b: `s${Math.floor(next() * 3)}`, ...Object.fromEntries(fields) }
}

/** What an envelope is opened to, in place of what it was. */
const values = (json: unknown): unknown => {
  if (typeof json !== "object" || json === null) return json
  if (Array.isArray(json)) return json.map(values)
  if ("$personal" in json) return { value: values((json.$personal as { value: unknown }).value) }
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, values(value)]))
}

/** Two subjects with keys that are the same in each run; of `ada` it may be one whose bytes nobody gets. */
const twoKeys = (isHidden: boolean) =>
  Effect.gen(function* () {
    const mac = yield* Mac.Mac
    const bytesFrom = (first: number) => Uint8Array.from({ length: 32 }, (_, index) => first + index)
    const [ada, bob] = [yield* keyOf(mac, "key-of-ada", bytesFrom(0)), yield* keyOf(mac, "key-of-bob", bytesFrom(1))]
    const hidden = Effect.gen(function* () {
      const bytes = yield* Aead.toBytes(ada.seal)
      const key = yield* Effect.promise(() =>
        crypto.subtle.importKey("raw", bytes as Uint8Array<ArrayBuffer>, "AES-GCM", false, ["encrypt", "decrypt"])
      )
      return { ...ada, seal: yield* Aead.fromCryptoKey(Aead.aes256Gcm, key) }
    })
    const keys = new Map<string, Keys.Standing>([
      ["ada", isHidden ? yield* hidden : ada],
      ["bob", bob]
    ])
    const byId = new Map<string, Keys.Standing>([
      ["key-of-ada", keys.get("ada") as Keys.Standing],
      ["key-of-bob", bob]
    ])
    const none = Effect.die(new Error("nobody is forgotten here"))
    return Keys.Keys.of({
      bound: Duration.zero,
      sealing: () => Effect.succeed(keys),
      opening: () => Effect.succeed(byId),
      close: () => none,
      destroy: () => none,
      readmit: () => none
    })
  })

const before = [
  {
    kind: "Met",
    id: "e-1",
    json: {
      by: "ada",
      name: { $personal: { of: "by", value: "Ada Lovelace" } },
      born: { $personal: { of: "by", value: { year: 1815, place: "London" } } },
      with: [{ who: "bob", note: { $personal: { of: "who", value: "tea, no sugar – ☕" } } }]
    }
  },
  {
    kind: "Met",
    id: "e-2",
    json: {
      by: "ada",
      name: { $personal: { of: "by", value: "Ada Lovelace" } },
      email: { $personal: { of: "by", value: "ada@example.org" } }
    }
  }
] as const

/** What the first code that sealed made of it. */
const stored = [
  {
    by: "ada",
    name: { $personal: { key: "key-of-ada", nth: 1 } },
    born: {
      $personal: {
        key: "key-of-ada",
        sealed: "XjRqitByraUxIWr+ceaUOujABXht20HO8CcmtluXMrSODfZ2/MFdHZ0KFqtevAAcC3GRV+eaMqmw7RvZFhN0v+RTsJ3Q09gC/SRe"
      }
    },
    with: [
      {
        who: "bob",
        note: {
          $personal: {
            key: "key-of-bob",
            sealed: "3Xz+wRn7iG1p8XEuzVM/662eIXSTruEwQDR1en2IVDwAguwJgR20xwNGNy3nCwLd7EduFk4="
          }
        }
      }
    ]
  },
  {
    by: "ada",
    name: { $personal: { nth: 1 } },
    email: {
      $personal: {
        key: "key-of-ada",
        sealed: "wEjPBETk+D/hYDf15hGhfIiKzCj7Y/CnMyJn+AJSsTj8yjt6iQIFNOrYHa8PIL3xzEPIVHRfUE1gCBkjc/s="
      }
    }
  }
]

describe("sealing", () => {
  for (const [name, crypto] of [
    ["on node:crypto", Personal.layerCrypto],
    [
      "on crypto.subtle",
      Layer.merge(Aead.layerWebCrypto, Mac.layerWebCrypto).pipe(Layer.provideMerge(SecureRandom.layerWebCrypto))
    ]
  ] as const) {
    it.live(`opened again is what it was, and sealed it says nothing, whatever the JSON: ${name}`, () =>
      Effect.gen(function* () {
        const { open, seal } = yield* makeSealing
        const next = random(7)
        for (let round = 0; round < 500; round++) {
          const planted: Array<string> = []
          const json: Schema.Json = { a: "s1", b: "s2", x: anything(next, planted) }
          const item = { json, kind: "Any", id: round % 2 === 0 ? `id-${round}` : undefined }
          const [sealed] = yield* seal([item])
          const text = JSON.stringify(sealed)
          for (const secret of planted) assert.ok(!text.includes(secret), text)
          const [opened] = yield* open([{ ...item, json: sealed as Schema.Json }])
          assert.deepEqual(values(opened), values(json))
          const [again] = yield* seal([item])
          assert.equal(JSON.stringify(again) === text, item.id !== undefined || planted.length === 0)
          // What was opened is sealed with the same keys again.
          const [copied] = yield* seal([{ ...item, json: opened as Schema.Json }])
          if (item.id !== undefined) assert.equal(JSON.stringify(copied), text)
        }
      }).pipe(Effect.provide(Layer.provideMerge(Keys.layerMemory, crypto)))
    )

    it.live(`what was sealed before is opened, and the same is sealed to the same bytes: ${name}`, () =>
      Effect.gen(function* () {
        const { open, seal } = yield* makeSealing
        assert.deepEqual(yield* seal(before), stored)
        const opened = yield* open(before.map((item, index) => ({ ...item, json: stored[index] as Schema.Json })))
        assert.deepEqual(
          opened.map(values),
          before.map(({ json }) => values(json))
        )
      }).pipe(Effect.provide(Layer.provideMerge(Layer.effect(Keys.Keys, twoKeys(false)), crypto)))
    )
  }

  it.live("a key that keeps its bytes to itself seals and opens as one that has them at hand", () =>
    Effect.gen(function* () {
      const { open, seal } = yield* makeSealing
      assert.deepEqual(yield* seal(before), stored)
      const changed = JSON.parse(JSON.stringify(stored).replace("XjRq", "XjRr")) as ReadonlyArray<Schema.Json>
      const [first, second] = yield* open(before.map((item, index) => ({ ...item, json: changed[index] as Schema.Json })))
      assert.match(JSON.stringify(first), /"problem":"sealed personal data that its key does not open/)
      assert.deepEqual(values(second), values(before[1].json))
    }).pipe(Effect.provide(Layer.provideMerge(Layer.effect(Keys.Keys, twoKeys(true)), Personal.layerCrypto)))
  )
})
