/** Who may do what: a role that owns the schema, and one that uses its tables. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Redacted, References, Stream } from "effect"
import { SqlClient } from "effect/sql"
import {
  Answers,
  Checkpoints,
  DeadLetters,
  EventStore,
  Inbox,
  Keys,
  MessageBus,
  ParkedEvents,
  Personal,
  ProcessManager,
  Projection,
  Relay,
  Snapshots,
  Transport
} from "eventfold"
import { PgCheckpoints, PgEventStore, PgRights, PgTransport } from "eventfold/postgres"
import { SqlTransactions } from "../../src/deciding/transaction.ts"
import { Handlers, Payment, PlaceOrder } from "../fixtures/0.1.0/domain.ts"
import { assertOwn, beside, fill, InlineTotals, Totals, version2 } from "../support/besideEvents.ts"
import { message } from "../support/failing.ts"
import { eventually, start } from "../support/words.ts"
import { type Client, clientOf, database, execute, stack } from "./databases.ts"

let roles = 0

/** A database whose administrator has made a schema for one role; another role has nothing. Neither may make anything in the database. */
const world = (schema = "eventfold") =>
  Effect.gen(function* () {
    const name = yield* database
    const admin = clientOf(name)
    const [owner, user] = [`owner_${process.pid}_${++roles}`, `user_${process.pid}_${roles}`] as const
    yield* Effect.acquireRelease(
      execute(
        admin,
        ...[owner, user].map((role) => `create role ${role} login password '${role}'`),
        `revoke all on database ${name} from public`,
        `grant connect on database ${name} to ${owner}, ${user}`,
        `revoke all on schema public from public`,
        `create schema "${schema}" authorization ${owner}`
      ),
      () =>
        Effect.orDie(execute(admin, ...[user, owner].flatMap((role) => [`drop owned by ${role} cascade`, `drop role ${role}`])))
    )
    return { admin, owner: clientOf(name, owner), user: clientOf(name, user), role: user }
  })

const transport = (options: PgTransport.Options = {}) =>
  PgTransport.layerWith({ ...options, listen: false, pollInterval: "20 millis" })

/** Makes all tables, as the guide says, and leaves nobody a right that is not granted. */
const migrate = (owner: Client, options: PgEventStore.Options = {}) =>
  Effect.andThen(
    Effect.provide(
      Effect.andThen(Projection.prepare(Totals), Projection.prepare(InlineTotals)),
      Layer.merge(beside, PgCheckpoints.layer).pipe(
        Layer.merge(transport({ schema: options.schema, tablePrefix: options.tablePrefix })),
        Layer.provideMerge(PgEventStore.layerWith({ ...options, migrate: true, listen: false })),
        Layer.provideMerge(owner),
        Layer.fresh
      )
    ),
    execute(owner, `revoke execute on all functions in schema "${options.schema ?? "eventfold"}" from public`)
  )

const grant = (owner: Client, options: PgRights.Options) =>
  execute(owner, ...PgRights.grants(options).split(";\n").filter(Boolean))

/** Makes of a store what it was before the migration that put a view in the place of its head. */
const asBefore = [
  "drop view eventfold.head",
  "drop function eventfold.update_head, eventfold.append_batch, eventfold.append_event, eventfold.append_one",
  "drop function if exists eventfold.append_lock, eventfold.newest_position, eventfold.events_stand, eventfold.head_position",
  "create table eventfold.head (only_row boolean primary key default true check (only_row), position bigint not null)",
  "insert into eventfold.head (position) values (0)",
  "drop table eventfold.deadline",
  "drop function eventfold.refuse_old_watch cascade",
  "delete from eventfold.migration where migration_id >= 7"
]

/** What is done to each table that a user of the database must not do. */
const forbidden = [
  "create table eventfold.mine (n int)",
  "create schema mine",
  "update eventfold.event set type = 'x'",
  "delete from eventfold.event",
  "truncate eventfold.event",
  "delete from eventfold.tag",
  "drop view eventfold.head",
  "delete from eventfold.checkpoint",
  "delete from eventfold.projection_version",
  "update eventfold.deadline set due = 0",
  "update eventfold.inbox set id = 'x'",
  "truncate eventfold.inbox",
  "update eventfold.projection_table set projection = 'x'",
  "update eventfold.message set id = 'x'",
  "delete from eventfold.consumer_group",
  "drop table eventfold.inbox",
  "drop view eventfold.total",
  "alter table eventfold.event disable trigger refuse_change"
]

const messageOf = <A, E>(effect: Effect.Effect<A, E>) => Effect.map(Effect.flip(effect), (error) => (error as Error).message)

describe("a role that owns the schema and may make none in the database", () => {
  it.live.each([{}, { schema: "Shop", tablePrefix: "a_" }] as const)(
    "makes all tables, and finds them when it opens them again (%j)",
    (options: PgEventStore.Options) =>
      Effect.gen(function* () {
        const { owner } = yield* world(options.schema)
        for (let time = 0; time < 2; time++) yield* migrate(owner, options)
        yield* Effect.scoped(Effect.provide(fill("owner", 2), stack(options, owner)))
        yield* Effect.provide(assertOwn("owner", 2), stack(options, owner))
      }),
    60_000
  )
})

describe("a role that uses the tables and makes none", () => {
  it.live.each([{ migrate: false }, {}, { schema: "Shop", tablePrefix: "a_", migrate: false }] as const)(
    "does all with what the script grants (%j)",
    (options: PgEventStore.Options) =>
      Effect.gen(function* () {
        const { schema, tablePrefix } = options
        const { owner, role, user } = yield* world(schema)
        yield* migrate(owner, options)
        yield* grant(owner, { role, schema, tablePrefix, projections: [Totals, InlineTotals] })
        // It may not make an index either, and goes on without.
        const at = `"${schema ?? "eventfold"}".${tablePrefix ?? ""}`
        yield* execute(owner, `drop index ${at}parked_event_stream, ${at}inbox_handled_at`)
        yield* Effect.scoped(Effect.provide(fill("user", 3), stack(options, user)))
        yield* Effect.provide(assertOwn("user", 3), stack(options, user))
        yield* Effect.scoped(
          Effect.gen(function* () {
            // A view is emptied and built again, a name is forgotten, old rows are pruned, what is parked is let go.
            yield* Stream.runDrain(Projection.rebuild(Totals))
            assert.equal(yield* Checkpoints.Checkpoints.use(({ remove }) => remove("subscription:mail")), true)
            yield* Snapshots.Snapshots.use(({ prune }) => prune(DateTime.makeUnsafe("2999-01-01T00:00:00Z")))
            assert.equal(yield* ParkedEvents.ParkedEvents.use(({ discard }) => discard("mail", 1)), true)
            assert.equal(yield* DeadLetters.DeadLetters.use(({ discard }) => discard("mail", message.id)), true)
          }).pipe(Effect.provide(stack(options, user)))
        )
      }),
    60_000
  )

  it.live(
    "relays, consumes and runs process managers with what the script grants",
    () =>
      Effect.gen(function* () {
        const { owner, role, user } = yield* world()
        yield* migrate(owner)
        yield* grant(owner, { role })
        const all = Layer.mergeAll(Handlers, transport()).pipe(
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(stack({ migrate: false }, user)),
          Layer.provideMerge(user)
        )
        const program = Effect.gen(function* () {
          yield* start(ProcessManager.layer(Payment))
          yield* start(Relay.layer({ name: "shop" }))
          const due = DateTime.makeUnsafe("2020-01-01T00:00:00Z")
          yield* MessageBus.execute(PlaceOrder, { order: "early", total: 1, due })
          yield* eventually(
            "the order is reminded of",
            Effect.map(Stream.runCollect(EventStore.read("Order-early")), (events) =>
              events.some(({ type }) => type === "Reminded")
            )
          )
          const [first] = yield* Transport.subscribe({ group: "mail" }).pipe(
            Stream.tap(({ nack }) => nack()),
            Stream.take(1),
            Stream.runCollect
          )
          const [again] = yield* Transport.subscribe({ group: "mail" }).pipe(
            Stream.tap(({ ack }) => ack),
            Stream.take(1),
            Stream.runCollect
          )
          assert.deepEqual([first?.message.id, again?.attempt], [again?.message.id, 2])
        })
        yield* Effect.provide(Effect.scoped(program), Layer.fresh(all))
      }),
    60_000
  )

  it.live(
    "may do nothing that it need not do",
    () =>
      Effect.gen(function* () {
        const { owner, role, user } = yield* world()
        yield* migrate(owner)
        yield* grant(owner, { role, projections: [Totals, InlineTotals] })
        for (const statement of forbidden) {
          const code = yield* Effect.provide(Effect.flip(SqlClient.SqlClient.use((sql) => sql.unsafe(statement))), user)
          assert.equal((code.reason.cause as { readonly code?: string }).code, "42501", statement)
        }
      }),
    60_000
  )

  it.live.each([{}, { schema: "Shop", tablePrefix: "a_" }] as const)(
    "seals and opens personal data, forgets and changes the master key with what the script grants, and can bring nobody back (%j)",
    (options: PgEventStore.Options) =>
      Effect.gen(function* () {
        const { schema = "eventfold", tablePrefix = "" } = options
        const { owner, role, user } = yield* world(schema)
        const secret = (letter: string) => Redacted.make(btoa(letter.repeat(32)))
        const first = { current: "a", keys: { a: secret("a") } }
        const table = `${schema}.${tablePrefix}personal_key`
        const keys = (client: Client, more: Partial<Keys.SqlOptions>) =>
          Layer.fresh(Keys.layerSql({ masters: first, bound: 0, ...more })).pipe(
            Layer.provideMerge(Layer.fresh(PgEventStore.layerWith({ ...options, listen: false }))),
            Layer.provideMerge(client),
            Layer.provideMerge(Personal.layerCrypto)
          )
        yield* migrate(owner, options)
        yield* Effect.provide(Effect.void, keys(owner, { migrate: true }))
        yield* grant(owner, { role, schema: options.schema, tablePrefix: options.tablePrefix, modules: ["store", "keys"] })
        const sealed = { $personal: { of: "customer", value: "planted" } }
        yield* Effect.gen(function* () {
          const append = EventStore.append("Customer-1", [{ type: "Registered", payload: { customer: "c1", email: sealed } }])
          yield* append
          assert.ok(JSON.stringify(yield* Stream.runCollect(EventStore.readAll())).includes("planted"))
          const both = { current: "b", keys: { b: secret("b"), a: secret("a") } }
          assert.ok((yield* Keys.rewrap({ masters: both })) >= 1)
          yield* Personal.forget("c1")
          assert.equal((yield* Effect.flip(append))._tag, "InvalidAppendError")
        }).pipe(Effect.provide(Layer.provideMerge(Layer.fresh(Personal.layer), keys(user, { migrate: false }))))
        const quoted = table
          .split(".")
          .map((part) => `"${part}"`)
          .join(".")
        for (const statement of [`delete from ${quoted}`, `truncate ${quoted}`, `drop table ${quoted}`]) {
          const error = yield* Effect.provide(Effect.flip(SqlClient.SqlClient.use((sql) => sql.unsafe(statement))), user)
          assert.equal((error.reason.cause as { readonly code?: string }).code, "42501", statement)
        }
      }),
    60_000
  )

  it.live(
    "appends on when a migration puts functions in the place of those that it was granted",
    () =>
      Effect.gen(function* () {
        const { owner, role, user } = yield* world()
        yield* migrate(owner)
        // As it was before, where nobody may run a new function unless that is granted.
        yield* execute(
          owner,
          ...asBefore,
          "alter default privileges revoke execute on functions from public",
          `grant usage on schema eventfold to ${role}`,
          `grant select, insert on eventfold.event, eventfold.tag to ${role}`,
          `grant select, update on eventfold.head to ${role}`,
          `grant select on eventfold.migration to ${role}`,
          `grant execute on function eventfold.append, eventfold.newest_match to ${role}`
        )
        yield* migrate(owner)
        const store = Layer.provide(PgEventStore.layerWith({ migrate: false, listen: false }), Layer.fresh(user))
        const append = EventStore.appendAll([{ stream: "A-1", events: [{ type: "X", payload: {} }] }], {
          unless: [{ filter: { tags: ["none"] } }, { filter: { categories: ["B"] } }]
        })
        yield* Effect.provide(append, store)
      }),
    60_000
  )

  it.live.each([
    "select on eventfold.head to ROLE",
    "select (position) on eventfold.head to ROLE",
    "select on eventfold.head to public"
  ])(
    "and was granted no more than to look at the head goes on looking (%s)",
    (granted) =>
      Effect.gen(function* () {
        const { admin, owner, role, user } = yield* world()
        yield* migrate(owner)
        yield* execute(
          owner,
          ...asBefore,
          "alter default privileges revoke execute on functions from public",
          `grant usage on schema eventfold to ${role}`,
          `grant ${granted.replace("ROLE", role)}`
        )
        // Who migrates need not be the owner, who goes on looking as well.
        yield* Effect.provide(
          EventStore.append("A-1", [{ type: "X", payload: {} }]),
          Layer.provide(PgEventStore.layerWith({ listen: false }), Layer.fresh(admin))
        )
        for (const client of [user, owner]) {
          const rows = yield* Effect.provide(
            SqlClient.SqlClient.use((sql) => sql`select position::int from eventfold.head`),
            client
          )
          assert.deepEqual(rows, [{ position: 1 }])
        }
        // It is not among those whose reads order appends.
        const locks = SqlClient.SqlClient.use((sql) =>
          sql.withTransaction(
            Effect.andThen(
              sql`select position from eventfold.head`,
              sql`select * from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`
            )
          )
        )
        assert.deepEqual(yield* Effect.provide(locks, user), [])
        for (const statement of ["select * from eventfold.event", "update eventfold.head set position = 9"]) {
          const code = yield* Effect.provide(Effect.flip(SqlClient.SqlClient.use((sql) => sql.unsafe(statement))), user)
          assert.equal((code.reason.cause as { readonly code?: string }).code, "42501", statement)
        }
      }),
    60_000
  )

  it.live(
    "is told what it lacks, module by module, and each module's rights are enough for it",
    () =>
      Effect.gen(function* () {
        const { owner, role, user } = yield* world()
        yield* migrate(owner)
        const store = PgEventStore.layerWith({ migrate: false, listen: false })
        type Needs = EventStore.EventStore | SqlClient.SqlClient
        const open = <A>(layer: Layer.Layer<A, unknown, Needs>, work: Effect.Effect<unknown, unknown, A>) =>
          Effect.provide(Effect.scoped(work), Layer.fresh(Layer.provide(layer, user as Client as Layer.Layer<Needs, unknown>)))
        const at = DateTime.makeUnsafe("2030-01-01T00:00:00Z")
        const off = { migrate: false } as const
        const modules: ReadonlyArray<readonly [PgRights.Module, Effect.Effect<unknown, unknown>]> = [
          [
            "store",
            Effect.provide(EventStore.append("A-1", [{ type: "X", payload: {} }]), Layer.provide(store, Layer.fresh(user)))
          ],
          [
            "checkpoints",
            open(
              PgCheckpoints.layerWith(off),
              Checkpoints.Checkpoints.use((_) => _.claim("a", { owner: "me", ttl: "1 minute" }))
            )
          ],
          [
            "snapshots",
            open(
              Snapshots.layerSqlWith(off),
              Snapshots.Snapshots.use((_) => _.save({ stream: "A", fingerprint: "f", version: 1, eventId: "e", state: null }))
            )
          ],
          [
            "parkedEvents",
            open(
              ParkedEvents.layerSqlWith(off),
              ParkedEvents.ParkedEvents.use((_) =>
                _.park({ subscription: "s", position: 1, stream: "A", type: "X", cause: "", attempts: 1, parkedAt: at })
              )
            )
          ],
          [
            "answers",
            Effect.provide(
              Answers.Answers.use(({ find }) => find("c", "1")),
              Answers.layerSqlWith(off).pipe(
                Layer.provide(Layer.succeed(SqlTransactions, true)),
                Layer.provide(Layer.effect(EventStore.EventStore, EventStore.makeMemory)),
                Layer.provide(Layer.fresh(user))
              )
            )
          ],
          ["inbox", open(Inbox.layerSqlWith(off), Inbox.once("mail", "1", Effect.void))],
          [
            "deadLetters",
            open(
              DeadLetters.layerSqlWith(off),
              DeadLetters.DeadLetters.use((_) => _.park({ group: "g", message, cause: "", attempts: 1, parkedAt: at }))
            )
          ],
          ["transport", Effect.provide(Transport.publish([message]), Layer.provide(transport(off), Layer.fresh(user)))]
        ]
        for (const [module, work] of modules) {
          assert.match(
            yield* messageOf(work),
            /permission denied for \w+ \w+ \[42501\] \(the role lacks a right: PgRights\.grants /
          )
          yield* grant(owner, { role, modules: [module] })
          yield* work
          yield* execute(
            owner,
            `revoke all on all tables in schema eventfold from ${role}`,
            `revoke all on all functions in schema eventfold from ${role}`,
            `revoke all on schema eventfold from ${role}`
          )
        }
      }),
    60_000
  )

  it.live(
    "is told who makes what is missing, and runs a new version that was prepared for it",
    () =>
      Effect.gen(function* () {
        const { owner, role, user } = yield* world()
        yield* migrate(owner)
        yield* execute(owner, "drop table eventfold.inbox, eventfold.snapshot cascade")
        yield* grant(owner, {
          role,
          modules: ["store", "checkpoints", "parkedEvents", "deadLetters"],
          projections: [Totals, InlineTotals]
        })
        const store = PgEventStore.layerWith({ migrate: false, listen: false })
        const opened = (layer: Layer.Layer<never, unknown, EventStore.EventStore | SqlClient.SqlClient>) =>
          Effect.scoped(Layer.build(Layer.fresh(layer.pipe(Layer.provide(store), Layer.provide(user)))))
        for (const layer of [Inbox.layerSql, Snapshots.layerSql] as ReadonlyArray<
          Layer.Layer<never, unknown, SqlClient.SqlClient>
        >) {
          const text = yield* messageOf(opened(layer))
          assert.match(
            text,
            /there is no table "eventfold"\."\w+": open this Layer once with "migrate", in a role that may make tables/
          )
        }
        // What may be made, and the role may not: as the database says it.
        assert.match(
          yield* messageOf(opened(Inbox.layerSqlWith({ migrate: true }) as Layer.Layer<never, unknown, SqlClient.SqlClient>)),
          /permission denied for schema eventfold \[42501\]/
        )
        const run = (options: PgEventStore.Options, client: Client, projection: typeof Totals) =>
          Effect.provide(
            Effect.scoped(
              Effect.andThen(
                Layer.build(Layer.fresh(Projection.layer(projection))),
                Projection.whenCaughtUp(projection, { timeout: "10 seconds" })
              )
            ),
            Layer.fresh(
              PgCheckpoints.layer.pipe(
                Layer.provideMerge(PgEventStore.layerWith({ listen: false, pollInterval: "20 millis", ...options })),
                Layer.provideMerge(client)
              )
            )
          )
        yield* run({ migrate: false }, user, Totals)
        assert.match(
          yield* messageOf(run({ migrate: false }, user, version2)),
          /there is no "eventfold"\."total_v2": call Projection\.prepare once/
        )
        assert.match(yield* messageOf(run({}, user, version2)), /permission denied for schema eventfold \[42501\]/)
        const asOwner = Layer.fresh(
          PgCheckpoints.layer.pipe(Layer.provideMerge(PgEventStore.layerWith({ listen: false })), Layer.provideMerge(owner))
        )
        yield* Effect.provide(Projection.prepare(version2), asOwner)
        yield* grant(owner, { role, modules: [], projections: [version2] })
        yield* run({ migrate: false }, user, version2)
        // Who could read the view can read it after the switch.
        yield* Effect.provide(Projection.switchTo(version2), asOwner)
        yield* execute(user, "select * from eventfold.total")
        assert.deepEqual(yield* Effect.provide(Projection.active("Totals"), asOwner), Option.some(2))
      }).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal")),
    60_000
  )
})
