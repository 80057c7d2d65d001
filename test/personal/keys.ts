/** Keys in a table: the same on every database. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { ConfigProvider, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import { Keys, Personal } from "eventfold"
import { describe } from "vitest"

const secret = (letter: string) => Redacted.make(btoa(letter.repeat(32)))
const first: Keys.Masters = { current: "a", keys: { a: secret("a") } }
const both: Keys.Masters = { current: "b", keys: { b: secret("b"), a: secret("a") } }
const second: Keys.Masters = { current: "b", keys: { b: secret("b") } }

/** A database, and the table in it where it is not the usual one. */
export interface Place {
  readonly client: Layer.Layer<SqlClient.SqlClient, SqlError.SqlError>
  readonly table?: string
}

/** Keys as a process of their own has them. */
const open = ({ client, table }: Place, options: Keys.SqlOptions) =>
  Effect.map(
    Layer.build(
      Layer.fresh(Keys.layerSql({ ...options, table })).pipe(
        Layer.provideMerge(Layer.fresh(client)),
        Layer.provide(Personal.layerCrypto)
      )
    ),
    (context) => ({ keys: Context.get(context, Keys.Keys), sql: Context.get(context, SqlClient.SqlClient) })
  )

const sealing = (keys: Keys.Keys["Service"], subject: string) =>
  Effect.map(keys.sealing(new Set([subject])), (found) => found.get(subject) as Keys.Standing)
const opening = (keys: Keys.Keys["Service"], id: string) => Effect.map(keys.opening(new Set([id])), (found) => found.get(id))
const idOf = (standing: Keys.Standing) => {
  assert.ok(standing._tag === "Key")
  return standing.id
}

/** What keys in a table of a database must do. */
export const keepsKeys = (name: string, newPlace: Effect.Effect<Place, unknown, Scope.Scope>): void => {
  describe(`keys in a table, ${name}`, () => {
    it.effect("are made once for a subject, also by two processes at once, and open again", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const one = yield* open(place, { masters: first })
        const two = yield* open(place, { masters: first })
        const subjects = Array.from({ length: 300 }, (_, index) => `s${index}`)
        const [ones, twos] = yield* Effect.all(
          [one.keys.sealing(new Set(subjects)), two.keys.sealing(new Set(subjects.toReversed()))],
          { concurrency: 2 }
        )
        for (const subject of subjects) {
          assert.equal(idOf(ones.get(subject) as Keys.Standing), idOf(twos.get(subject) as Keys.Standing))
        }
        const three = yield* open(place, { masters: first })
        const id = idOf(ones.get("s7") as Keys.Standing)
        assert.equal((yield* opening(three.keys, id))?._tag, "Key")
        assert.equal(yield* opening(three.keys, "nobody's"), undefined)
      })
    )

    it.effect("that are destroyed are seen by another process for the bound, and no longer", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const one = yield* open(place, { masters: first, bound: "5 seconds" })
        const two = yield* open(place, { masters: first, bound: "5 seconds" })
        const id = idOf(yield* sealing(one.keys, "ada"))
        assert.equal((yield* opening(two.keys, id))?._tag, "Key")
        const generation = yield* one.keys.close("ada")
        yield* one.keys.destroy("ada", generation)
        assert.equal((yield* opening(one.keys, id))?._tag, "Forgotten")
        assert.equal((yield* sealing(one.keys, "ada"))._tag, "Forgotten")
        yield* TestClock.adjust("4999 millis")
        assert.equal((yield* opening(two.keys, id))?._tag, "Key")
        yield* TestClock.adjust("1 millis")
        assert.equal((yield* opening(two.keys, id))?._tag, "Forgotten")
        assert.equal((yield* sealing(two.keys, "ada"))._tag, "Forgotten")
        // Who never had a key is kept out as well.
        yield* one.keys.destroy("ben", yield* one.keys.close("ben"))
        assert.equal((yield* sealing(two.keys, "ben"))._tag, "Forgotten")
        yield* two.keys.readmit("ada")
        yield* two.keys.readmit("ada")
        assert.notEqual(idOf(yield* sealing(two.keys, "ada")), id)
        assert.equal((yield* opening(two.keys, id))?._tag, "Forgotten")
      })
    )

    it.effect("that a transaction has made and rolled back seal nothing later", () =>
      Effect.gen(function* () {
        const { keys, sql } = yield* open(yield* newPlace, { masters: first })
        const lost = yield* Effect.flip(
          sql.withTransaction(Effect.flatMap(sealing(keys, "ada"), (standing) => Effect.fail(idOf(standing))))
        )
        const found = idOf(yield* sealing(keys, "ada"))
        assert.notEqual(found, lost)
        assert.equal(yield* opening(keys, String(lost)), undefined)
        const kept = yield* sql.withTransaction(sealing(keys, "ben"))
        assert.equal(idOf(yield* sealing(keys, "ben")), idOf(kept))
      })
    )

    it.effect("that a transaction has destroyed and rolled back are there, in its own process too", () =>
      Effect.gen(function* () {
        const { keys, sql } = yield* open(yield* newPlace, { masters: first })
        const id = idOf(yield* sealing(keys, "ada"))
        const forget = Effect.flatMap(keys.close("ada"), (generation) => keys.destroy("ada", generation))
        yield* Effect.flip(sql.withTransaction(Effect.andThen(forget, Effect.fail("rolled back"))))
        assert.equal((yield* opening(keys, id))?._tag, "Key")
        assert.equal(idOf(yield* sealing(keys, "ada")), id)
        yield* sql.withTransaction(forget)
        assert.equal((yield* opening(keys, id))?._tag, "Forgotten")
        assert.equal((yield* sealing(keys, "ada"))._tag, "Forgotten")
      })
    )

    it.effect("that are forgotten while they are wrapped anew stay so, at the worst moment", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const before = yield* open(place, { masters: first })
        const subjects = Array.from({ length: 12 }, (_, index) => `s${index}`)
        const made = yield* before.keys.sealing(new Set(subjects))
        const during = yield* open(place, { masters: both })
        // When all rows have been read, and before one is written.
        const forgotten = yield* Effect.cached(
          Effect.forEach(subjects.slice(0, 5), (subject) =>
            Effect.flatMap(before.keys.close(subject), (generation) => before.keys.destroy(subject, generation))
          )
        )
        const forgetting: Keys.Wrapping = {
          current: "kms",
          wrap: (bytes) => Effect.as(forgotten, Buffer.from(bytes).toString("hex")),
          unwrap: () => Effect.succeed(new Uint8Array(32))
        }
        const rewrapping = Keys.rewrap({ masters: forgetting, table: place.table }).pipe(
          Effect.provideService(SqlClient.SqlClient, during.sql),
          Effect.provide(Personal.layerCrypto)
        )
        // The seven that are left, and the rows by which two master keys are known.
        assert.equal(yield* rewrapping, 9)
        assert.equal(yield* rewrapping, 0)
        const after = yield* open(place, { masters: forgetting })
        for (const [index, subject] of subjects.entries()) {
          const id = idOf(made.get(subject) as Keys.Standing)
          assert.equal((yield* opening(after.keys, id))?._tag, index < 5 ? "Forgotten" : "Key")
          assert.equal((yield* sealing(after.keys, subject))._tag, index < 5 ? "Forgotten" : "Key")
        }
      })
    )

    it.effect("that a transaction of one process makes wait for no other's for ever, and are one key in the end", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const one = yield* open(place, { masters: first })
        const two = yield* open(place, { masters: first })
        const made = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(
          one.sql.withTransaction(
            Effect.flatMap(sealing(one.keys, "ada"), (standing) =>
              Effect.andThen(Deferred.succeed(made, undefined), Effect.fail(idOf(standing)))
            )
          )
        )
        yield* Deferred.await(made)
        const other = idOf(yield* sealing(two.keys, "ada"))
        const lost = yield* Effect.flip(Fiber.join(fiber))
        assert.notEqual(other, lost)
        assert.equal(idOf(yield* sealing(one.keys, "ada")), other)
        assert.equal(yield* opening(one.keys, String(lost)), undefined)
      })
    )

    it.effect("are wrapped anew with another master key, beside what is forgotten; the old one is then of no use", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const subjects = Array.from({ length: 120 }, (_, index) => `s${index}`)
        const before = yield* open(place, { masters: first })
        const made = yield* before.keys.sealing(new Set(subjects))
        const during = yield* open(place, { masters: both })
        const rewrapping = Keys.rewrap({ masters: both, table: place.table }).pipe(
          Effect.provideService(SqlClient.SqlClient, during.sql),
          Effect.provide(Personal.layerCrypto)
        )
        const forgetting = Effect.forEach(subjects.slice(0, 20), (subject) => before.keys.destroy(subject, 1))
        const [wrapped] = yield* Effect.all([rewrapping, forgetting], { concurrency: 2 })
        assert.ok(wrapped >= 101 && wrapped <= 121, String(wrapped))
        assert.equal(yield* rewrapping, 0)
        const after = yield* open(place, { masters: second })
        const ids = new Set(Array.from(made.values(), idOf))
        const standings = yield* after.keys.opening(ids)
        assert.equal(Array.from(standings.values()).filter(({ _tag }) => _tag === "Forgotten").length, 20)
        const error = yield* Effect.flip(open(place, { masters: first }))
        assert.equal(error._tag, "WrongMasterKey")
        // Whoever is still there with the old master key alone is told so, and takes nothing for forgotten.
        yield* TestClock.adjust("1 minute")
        assert.equal((yield* Effect.flip(before.keys.opening(ids)))._tag, "WrongMasterKey")
      })
    )

    it.effect("refuse a master key that is another one under the same name, or none at all", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        yield* open(place, { masters: first })
        const wrong = yield* Effect.flip(open(place, { masters: { current: "a", keys: { a: secret("x") } } }))
        assert.match(wrong.message, /The master key "a" is another one than that which the keys are wrapped with/)
        for (const masters of [
          { current: "b", keys: { b: secret("b"), a: secret("x") } },
          { current: "a", keys: { a: Redacted.make("short") } },
          { current: "z", keys: { a: secret("a") } },
          Keys.masters("ABSENT")
        ]) {
          assert.equal((yield* Effect.flip(open(place, { masters })))._tag, "WrongMasterKey")
        }
        const provider = ConfigProvider.fromEnv({ env: { MASTERS: ` b:${btoa("b".repeat(32))}, a:${btoa("a".repeat(32))}` } })
        const read = yield* Keys.masters("MASTERS").parse(provider)
        assert.equal(read.current, "b")
        assert.equal(Redacted.value(read.keys["a"] as Redacted.Redacted<string>), btoa("a".repeat(32)))
      })
    )

    it.effect("are of subjects alone: no subject has the name of what tells master keys apart", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const { keys } = yield* open(place, { masters: first })
        const probe = "$master:a"
        assert.equal(yield* opening(keys, probe), undefined, "it is no key that anything could be sealed with")
        const id = idOf(yield* sealing(keys, probe))
        assert.notEqual(id, probe)
        const generation = yield* keys.close(probe)
        assert.equal(generation, 1)
        yield* keys.destroy(probe, generation)
        assert.equal((yield* sealing(keys, probe))._tag, "Forgotten")
        const wrong = yield* Effect.flip(open(place, { masters: { current: "a", keys: { a: secret("x") } } }))
        assert.equal(wrong._tag, "WrongMasterKey")
      })
    )

    it.effect("may be wrapped elsewhere", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        let calls = 0
        const kms: Keys.Wrapping = {
          current: "kms-1",
          wrap: (bytes) => Effect.sync(() => (calls++, Buffer.from(bytes).toString("hex"))),
          unwrap: (wrapped, master) =>
            master === "kms-1"
              ? Effect.sync(() => (calls++, Buffer.from(wrapped, "hex")))
              : Effect.fail(new Keys.WrongMasterKey({ master, problem: "is not there" }))
        }
        const { keys } = yield* open(place, { masters: kms })
        const id = idOf(yield* sealing(keys, "ada"))
        const before = calls
        for (let round = 0; round < 5; round++) {
          yield* TestClock.adjust("11 seconds")
          assert.equal(idOf((yield* opening(keys, id)) as Keys.Standing), id)
        }
        // What is wrapped as before is not unwrapped again.
        assert.equal(calls, before)
      })
    )

    it.effect("that cannot be reached are an outage, and nobody is forgotten by it", () =>
      Effect.gen(function* () {
        const place = yield* newPlace
        const scope = yield* Scope.make()
        const { keys } = yield* Scope.provide(open(place, { masters: first, bound: "1 seconds" }), scope)
        const id = idOf(yield* sealing(keys, "ada"))
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("1 seconds")
        assert.equal((yield* Effect.flip(opening(keys, id)))._tag, "KeysUnavailable")
        assert.equal((yield* Effect.flip(keys.sealing(new Set(["ada"]))))._tag, "KeysUnavailable")
        assert.equal(Duration.toSeconds(keys.bound), 1)
      })
    )
  })
}
