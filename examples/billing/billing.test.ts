/** Both services as they run, driven over HTTP alone. */
import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { once } from "./client.ts"
import { NothingOwed, WrongAmount } from "./domain/Invoice.ts"
import { UnknownCustomer } from "./domain/Subscription.ts"
import { Cents, CustomerId, InvoiceId, SubscriptionId } from "./domain/values.ts"
import { kill, start, until, untilBooked, untilSuspended } from "./story.ts"

const ids = (name: string) => ({
  customer: CustomerId.make(name),
  subscription: SubscriptionId.make(name),
  invoice: InvoiceId.make(`${name}-1`)
})
const price = Cents.make(900)
const [ada, ben] = [ids("ada"), ids("ben")]
const many = Array.from({ length: 12 }, (_, n) => ids(`c${n}`))

it.live(
  "customers subscribe, pay or do not, and the ledger books each message once, though it is killed on the way",
  () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { balances, client, database, ledger, stranger } = yield* start
        const first = yield* ledger
        const enrol = ({ customer, subscription }: typeof ada) =>
          Effect.andThen(
            client.commands.RegisterCustomer({
              payload: { customer, name: `${customer}'s name`, email: `${customer}@example.com` },
              ...once(`register ${customer}`)
            }),
            client.commands.Subscribe({ payload: { subscription, customer, plan: "small" }, ...once(`subscribe ${customer}`) })
          )
        const pay = ({ invoice }: typeof ada, cents: Cents, key: string) =>
          client.commands.PayInvoice({ payload: { invoice, cents }, ...once(key) })
        const invoices = ({ customer }: typeof ada) => client.queries.invoices({ params: { customer } })
        const status = ({ subscription }: typeof ada) =>
          Effect.map(client.queries.subscription({ params: { subscription } }), ({ status }) => status)

        // Who calls has to be known, and for whom.
        const refused = yield* Effect.flip(stranger.commands.ForgetCustomer({ payload: ada, headers: {} }))
        assert.equal(refused._tag, "Unauthorized")
        const unknown = yield* Effect.flip(client.commands.Subscribe({ payload: { ...ada, plan: "small" }, headers: {} }))
        assert.deepEqual(unknown, new UnknownCustomer({ customer: ada.customer }))

        // A repeated call takes effect once, and a view shows what has just been done.
        yield* enrol(ada)
        yield* enrol(ada)
        assert.equal((yield* invoices(ada))[0]?.invoice, "ada-1")
        assert.deepEqual(
          yield* Effect.flip(pay(ada, Cents.make(5), "too little")),
          new WrongAmount({ invoice: ada.invoice, owed: price })
        )
        yield* pay(ada, price, "ada pays")
        yield* pay(ada, price, "ada pays")
        assert.deepEqual(yield* Effect.flip(pay(ada, price, "again")), new NothingOwed({ invoice: ada.invoice }))
        assert.deepEqual((yield* invoices(ada)).map(({ invoice, status }) => [invoice, status]).slice(0, 1), [["ada-1", "paid"]])

        // Messages come one upon the other, and the ledger dies in the midst of them.
        yield* Effect.forEach(many, enrol, { concurrency: 4 })
        yield* untilBooked(4, balances)
        yield* kill(first)

        // Time passes: who does not pay is suspended, and let in again.
        yield* enrol(ben)
        yield* untilSuspended(client, ben.subscription)
        yield* pay(ben, price, "ben pays")
        assert.equal(yield* status(ben), "active")

        // Nobody pays any more, so what is owed stands: the ledger comes to the same as the view.
        yield* ledger
        const everybody = [ada, ben, ...many]
        const expected = Effect.forEach(everybody, (who) =>
          Effect.map(invoices(who), (all) => ({
            company: "acme",
            customer: who.customer,
            cents: all.reduce((sum, { cents, status }) => (status === "paid" ? sum : sum + cents), 0),
            bookings: all.reduce((sum, { status }) => sum + (status === "paid" ? 2 : 1), 0)
          }))
        )
        const byCustomer = (a: { readonly customer: string }, b: { readonly customer: string }) =>
          a.customer < b.customer ? -1 : 1
        const owed = (yield* expected).toSorted(byCustomer)
        yield* untilBooked(
          owed.reduce((sum, { bookings }) => sum + bookings, 0),
          balances
        )
        // What was in hand when it died is delivered again: nothing is left of it either.
        yield* until(
          "all is acknowledged",
          SqlClient.SqlClient.use((sql) => sql`SELECT 1 FROM transport.delivery`).pipe(
            Effect.provide(PgClient.layer({ url: Redacted.make(database) }))
          ),
          (rows) => rows.length === 0
        )
        assert.deepEqual((yield* balances).toSorted(byCustomer), owed)
      })
    ),
  120_000
)

it.live(
  "two companies share nothing, and whoever is forgotten is gone from every file, table and log",
  () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { balances, client: acme, database, folders, globex, ledger } = yield* start
        yield* ledger
        const ask = <A>(query: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
          SqlClient.SqlClient.use(query).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(database) })))
        const contactOf = (company: string) => ({
          ada: { name: `Ada planted at ${company}`, email: `ada@${company}.planted.example` },
          ben: { name: `Ben planted at ${company}`, email: `ben@${company}.planted.example` }
        })
        // The same customers, subscriptions and keys of calls, and different people.
        for (const [company, client] of Object.entries({ acme, globex })) {
          for (const [name, contact] of Object.entries(contactOf(company))) {
            const { customer, subscription } = ids(name)
            yield* client.commands.RegisterCustomer({ payload: { customer, ...contact }, ...once(`register ${name}`) })
            yield* client.commands.Subscribe({ payload: { subscription, customer, plan: "small" }, ...once(`subscribe ${name}`) })
          }
        }
        const only = ids("only-at-acme")
        yield* acme.commands.RegisterCustomer({ payload: { ...only, name: "Only", email: "only@acme.example" }, headers: {} })
        yield* acme.commands.Subscribe({ payload: { ...only, plan: "large" }, headers: {} })
        yield* acme.commands.PayInvoice({ payload: { invoice: ada.invoice, cents: price }, ...once("ada pays") })

        for (const [company, client] of Object.entries({ acme, globex })) {
          const { ada: expected } = contactOf(company)
          assert.deepEqual(yield* client.queries.contact({ params: ada }), expected)
          const [invoice] = yield* client.queries.invoices({ params: ada })
          assert.equal(invoice?.status === "paid", company === "acme", `the invoice at ${company}`)
        }
        // What one of them has, the other knows nothing of, nor can do anything to.
        assert.equal((yield* Effect.flip(globex.queries.contact({ params: only })))._tag, "NotFound")
        assert.deepEqual(yield* globex.queries.invoices({ params: only }), [])
        assert.equal((yield* globex.queries.subscription({ params: only })).status, "none")
        const refused = yield* Effect.flip(
          globex.commands.PayInvoice({ payload: { invoice: only.invoice, cents: price }, headers: {} })
        )
        assert.equal(refused._tag, "NothingOwed")
        const rows = yield* untilBooked(6, balances)
        assert.deepEqual(
          rows.filter(({ customer }) => customer === only.customer).map(({ company }) => company),
          ["acme"]
        )
        const bookings = (company: string) => rows.filter((row) => row.company === company && row.customer === ada.customer)
        assert.deepEqual([bookings("acme")[0]?.bookings, bookings("globex")[0]?.bookings], [2, 1])
        const tables = yield* ask(
          (sql) => sql<{ readonly name: string }>`
            SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = 'billing_globex'`
        )
        assert.ok(tables.length > 5)
        for (const { name } of tables) {
          const found = yield* ask((sql) => sql`SELECT 1 FROM ${sql(name)} t WHERE position(${only.customer} IN t::text) > 0`)
          assert.deepEqual(found, [], `a row of acme in ${name}`)
        }

        // Ben of Globex is forgotten. His namesake at Acme is somebody else.
        const keys = (company: string) =>
          ask(
            (sql) => sql<{ readonly has: boolean }>`
              SELECT wrapped IS NOT NULL AS has FROM ${sql(`billing_${company}.personal_key`)} WHERE subject = ${ben.customer}`
          )
        assert.deepEqual(yield* keys("globex"), [{ has: true }])
        yield* globex.commands.ForgetCustomer({ payload: ben, headers: {} })
        assert.equal((yield* Effect.flip(globex.queries.contact({ params: ben })))._tag, "NotFound")
        yield* until("the key is gone", keys("globex"), ([key]) => key?.has === false)
        const told = yield* ask((sql) => sql`SELECT payload FROM billing_globex.event WHERE type = 'SubjectForgotten'`)
        assert.deepEqual(told, [{ payload: { subject: ben.customer, generation: 1 } }])
        assert.deepEqual(yield* keys("acme"), [{ has: true }])
        assert.deepEqual(yield* acme.queries.contact({ params: ben }), contactOf("acme").ben)

        // All that is in memory comes to the disk. Then every file is looked through: tables, write-ahead log, the ledger, the broker.
        yield* ask((sql) => sql`CHECKPOINT`)
        const files = folders.flatMap((folder) =>
          readdirSync(folder, { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map((entry) => join(entry.parentPath, entry.name))
        )
        assert.ok(files.some((file) => file.includes("pg_wal")) && files.some((file) => file.endsWith("ledger.sqlite")))
        const holding = (text: string) => files.filter((file) => existsSync(file) && readFileSync(file).includes(text))
        assert.ok(holding(only.invoice).length > 0, "what is not personal is found so")
        for (const { email, name } of [contactOf("globex").ben, contactOf("globex").ada, contactOf("acme").ben]) {
          assert.deepEqual(holding(email), [])
          assert.deepEqual(holding(name), [])
        }
      })
    ),
  120_000
)
