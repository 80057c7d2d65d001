/** Both services as they run, driven over HTTP alone. */
import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
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
        const join = ({ customer, subscription }: typeof ada) =>
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
        yield* join(ada)
        yield* join(ada)
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
        yield* Effect.forEach(many, join, { concurrency: 4 })
        yield* untilBooked(4, balances)
        yield* kill(first)

        // Time passes: who does not pay is suspended, and let in again.
        yield* join(ben)
        yield* untilSuspended(client, ben.subscription)
        yield* pay(ben, price, "ben pays")
        assert.equal(yield* status(ben), "active")

        // Nobody pays any more, so what is owed stands: the ledger comes to the same as the view.
        yield* ledger
        const everybody = [ada, ben, ...many]
        const expected = Effect.forEach(everybody, (who) =>
          Effect.map(invoices(who), (all) => ({
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

        // What is personal was never in an event, and can be forgotten.
        const personal = yield* SqlClient.SqlClient.use(
          (sql) => sql`SELECT 1 FROM eventfold.event WHERE payload::text LIKE '%example.com%'`
        ).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(database) })))
        assert.deepEqual(personal, [])
        const contact = client.queries.contact({ params: ben })
        assert.deepEqual(yield* contact, { name: "ben's name", email: "ben@example.com" })
        yield* client.commands.ForgetCustomer({ payload: ben, headers: {} })
        assert.equal((yield* Effect.flip(contact))._tag, "NotFound")
      })
    ),
  120_000
)
