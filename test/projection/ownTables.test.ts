import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, type Scope, Stream, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventStore, ParkedEvents, Projection, Subscription, UnitOfWork } from "eventfold"
import { logs } from "../support/logs.ts"
import { start } from "../support/words.ts"
import { makeEverywhere, Prefix, type Wired } from "./everywhere.ts"

const Noted = Event.make("Noted", { n: Schema.Int })
const Moved = Event.make("Moved", { n: Schema.Int })

const everywhere = makeEverywhere()
const waiting = { timeout: "20 seconds" } as const

const noted = (n: number): EventStore.NewEvent => ({ type: "Noted", payload: { n } })
const moved = (n: number): EventStore.NewEvent => ({ type: "Moved", payload: { n } })

const tableOf = (prefix: string, name = "t") =>
  Projection.table(`${prefix}${name}`, { key: "id", fields: { id: Schema.String, n: Schema.Int } })

const ownerOf = (T: ReturnType<typeof tableOf>) =>
  Projection.make("Owner", {
    version: 1,
    tables: [T],
    events: [Noted],
    handlers: { Noted: ({ n }, { stream }) => T.upsert({ id: stream, n }) }
  })

const halted = (projection: { readonly subscription: string }) =>
  Subscription.changes(projection.subscription).pipe(
    Stream.filter(({ state }) => state === "halted"),
    Stream.runHead,
    Effect.map(Option.getOrThrow)
  )

describe("a handler that writes a table which its projection does not list", () => {
  type T = ReturnType<typeof tableOf>
  const writes: Record<string, (T: T, id: string) => Effect.Effect<unknown, unknown, Wired | Projection.Run | Scope.Scope>> = {
    upsert: (T, id) => T.upsert({ id, n: 1 }),
    "upsert of nothing": (T) => T.upsert(),
    patch: (T, id) => T.patch(id, () => ({ n: 1 })),
    delete: (T, id) => T.delete(id),
    fold: (T, id) => T.fold([1], { key: () => id, evolve: (_, n) => ({ id, n }) })
  }

  everywhere("is refused at its first write, by name, whatever it writes, and no row of another is lost", () =>
    Effect.gen(function* () {
      logs(/has halted|halts/)
      const T = tableOf(yield* Prefix)
      const Owner = ownerOf(T)
      yield* EventStore.append("A-1", [noted(1)])
      yield* EventStore.append("B-1", [moved(1), moved(2)])
      yield* start(Projection.layer(Owner))
      yield* Projection.whenCaughtUp(Owner, waiting)
      for (const [index, [what, write]] of Object.entries(writes).entries()) {
        const options = { version: 1, events: [Moved] } as const
        const guest =
          index % 2 === 0
            ? Projection.make(`Guest${index}`, { ...options, handlers: { Moved: (_, { stream }) => write(T, stream) } })
            : Projection.make(`Guest${index}`, { ...options, batch: ([{ stream }]) => write(T, stream) })
        yield* start(Projection.layer(guest))
        const { cause, failed, position } = yield* halted(guest)
        const error = Cause.squash(Option.getOrThrow(cause))
        assert.ok(error instanceof Projection.TableUnlistedError, `${what}: ${String(error)}`)
        assert.deepEqual([error.table, error.projection], [T.name, guest.name])
        assert.equal(
          error.message,
          `The projection "${guest.name}" writes the table "${T.name}", which is not one of its own: list it in \`tables\``
        )
        // Not tried again.
        assert.deepEqual([failed?.position, failed?.attempts, position], [2, 1, 0], what)
      }
      yield* Stream.runDrain(Projection.rebuild(Owner))
      assert.deepEqual(yield* T.list(), [{ id: "A-1", n: 1 }])
    })
  )

  everywhere("has its event parked, or its unit of work ended, and nothing of it is written", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const [T, U, V] = [tableOf(yield* Prefix), tableOf(yield* Prefix, "u"), tableOf(yield* Prefix, "v")]
      const define = (name: string, own: T) =>
        Projection.make(name, {
          version: 1,
          tables: [own],
          events: [Moved],
          handlers: {
            Moved: ({ n }) => Effect.andThen(own.upsert({ id: String(n), n }), n === 2 ? T.delete("A-1") : Effect.void)
          }
        })
      const [parks, inline] = [define("Parks", U), define("Inline", V)]
      yield* start(Projection.inline(inline))
      yield* UnitOfWork.transact(UnitOfWork.stage("B-1", [moved(1)]))
      const exit = yield* Effect.exit(UnitOfWork.transact(UnitOfWork.stage("B-1", [moved(2)])))
      assert.ok(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Projection.TableUnlistedError)
      assert.deepEqual(yield* V.list(), [{ id: "1", n: 1 }])
      yield* EventStore.append("B-1", [moved(2), moved(3)])
      yield* start(Projection.layer(parks, { onFailure: "park" }))
      yield* Projection.whenCaughtUp(parks, waiting)
      assert.deepEqual(
        (yield* U.list()).map(({ n }) => n),
        [1, 3]
      )
      const [parked] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list(parks.subscription))
      assert.deepEqual([parked?.position, parked?.attempts], [2, 1])
    }).pipe(Effect.provide(Layer.fresh(ParkedEvents.layerMemory)))
  )
})

describe("a table that stands, and a definition of other columns under the same version", () => {
  const define = (prefix: string, key: "id" | "other", fields: Record<string, typeof Schema.String | typeof Schema.Int>) =>
    Projection.make("Fielded", {
      version: 1,
      tables: [
        Projection.table(`${prefix}t`, { key, fields: { id: Schema.String, other: Schema.String, ...fields } as never })
      ] as unknown as readonly [ReturnType<typeof tableOf>],
      events: [Noted],
      handlers: { Noted: () => Effect.void }
    })
  type Fielded = ReturnType<typeof define>
  const told = (projection: Fielded, way: (projection: Fielded) => Effect.Effect<unknown, unknown, Wired | Scope.Scope>) =>
    Effect.map(Effect.exit(Effect.scoped(way(projection))), (exit) =>
      Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
    )
  const layer = (projection: Fielded) => start(Projection.layer(projection))
  const inline = (projection: Fielded) => start(Projection.inline(projection))

  everywhere("are told from each other when it is built, and what is wrong is said", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      yield* EventStore.append("A-1", [noted(1)])
      const before = define(prefix, "id", { n: Schema.Int, text: Schema.String })
      yield* Effect.scoped(Effect.andThen(layer(before), Projection.whenCaughtUp(before, waiting)))
      const more = define(prefix, "id", { n: Schema.Int, text: Schema.String, extra: Schema.Int })
      for (const way of [layer, inline, Projection.prepare, (p: Fielded) => Stream.runDrain(Projection.rebuild(p))]) {
        const why = yield* told(more, way)
        assert.match(why, /t_v1"? has no column "extra": its definition has changed, so raise `version`/)
      }
      assert.match(
        yield* told(define(prefix, "id", { n: Schema.Int, text: Schema.Int, extra: Schema.Int }), layer),
        /has no column "extra"/
      )
      const other = define(prefix, "id", { n: Schema.String, text: Schema.String })
      assert.match(yield* told(other, layer), /has a column "n" of the type (bigint|integer), not text: /)
      const keyed = define(prefix, "other", { n: Schema.Int, text: Schema.String })
      assert.match(yield* told(keyed, layer), /has another key than "other": /)
      // What works goes on: a column that is gone from the definition, and one that was added by hand.
      const fewer = define(prefix, "id", { n: Schema.Int })
      assert.equal(yield* told(fewer, layer), "")
      const sql = yield* SqlClient.SqlClient
      const name = `${prefix}t_v1`
      yield* sql.unsafe(`alter table ${name} add column loaded text not null default ''`)
      assert.equal(yield* told(before, layer), "")
      yield* sql.unsafe(`drop view ${prefix}t`)
      yield* sql.unsafe(`drop table ${name}`)
      yield* sql.unsafe(`create table ${name} (id text primary key, other text unique, n bigint, must text not null)`)
      assert.match(yield* told(fewer, layer), /has a column "must" that must have a value/)
      yield* Projection.drop(fewer)
      assert.equal(yield* told(more, layer), "")
    })
  )
})
