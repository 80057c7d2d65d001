/** Starts both services, each in a process of its own, and lets a few customers of two companies come: what `npm run example:billing` shows. */
import { Effect, Option, Schedule } from "effect"
import { SqliteClient } from "eventfold/sqlite"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startPostgres } from "../../test/support/postgres-server.ts"
import { freePort } from "../../test/support/server-folder.ts"
import { connect, once } from "./client.ts"
import { Cents, CustomerId, InvoiceId, SubscriptionId } from "./domain/values.ts"
import { balances } from "./ledger.ts"

/** Two companies have their billing done here, each by a clerk of its own. */
const tokens = { acme: "token of the clerk of acme", globex: "token of the clerk of globex" }

/** A service in a process of its own, which is killed when the scope closes: as a crash would end it. */
const startService = (service: "billing" | "ledger", env: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=@eventfold/source", join(import.meta.dirname, "main.ts"), service], {
        stdio: ["ignore", "inherit", "inherit"],
        env: { ...process.env, ...env }
      })
    ),
    kill
  )

export const kill = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

/** Asks again until the answer is the one that is waited for. */
export const until = <A, E, R>(what: string, ask: Effect.Effect<A, E, R>, found: (answer: A) => boolean) =>
  ask.pipe(
    // A server that listens already, and has no routes yet, does not answer.
    Effect.timeout("2 seconds"),
    Effect.option,
    Effect.map(Option.filter(found)),
    Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("50 millis") }),
    Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die(new Error(`It has not come to this: ${what}`)) }),
    Effect.flatMap((answer) => Effect.fromOption(answer)),
    Effect.orDie
  )

/** Both services on a PostgreSQL of their own, with terms of a second in place of weeks. */
export const start = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "eventfold-billing-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const { dataDir, url: database } = yield* Effect.acquireRelease(
    Effect.promise(() => startPostgres()),
    ({ dispose }) => Effect.promise(dispose)
  )
  const port = yield* Effect.promise(freePort)
  const url = `http://127.0.0.1:${port}`
  const env = {
    DATABASE_URL: database,
    COMPANIES: Object.entries(tokens)
      .map(([id, token]) => `${id}:${token}`)
      .join(),
    MASTER_KEYS: `2030:${btoa("m".repeat(32))}`,
    PORT: String(port),
    PAYMENT_TERM: "1 second",
    GRACE: "1 second"
  }
  const filename = join(folder, "ledger.sqlite")
  const ledger = startService("ledger", { ...env, LEDGER_FILE: filename })
  yield* startService("billing", env)
  const [client, globex] = [yield* connect(url, tokens.acme), yield* connect(url, tokens.globex)]
  const booked = Effect.scoped(Effect.provide(balances, SqliteClient.layer({ filename })))
  const stranger = yield* connect(url, "another token")
  yield* until(
    "billing answers",
    Effect.flip(stranger.queries.invoices({ params: { customer: CustomerId.make("ada") } })),
    ({ _tag }) => _tag === "Unauthorized"
  )
  return { database, folders: [dataDir, folder], url, client, globex, stranger, ledger, balances: booked }
})

/** Waits until the ledger has made so many bookings. */
export const untilBooked = (bookings: number, ledger: Effect.Success<typeof start>["balances"]) =>
  until(`${bookings} bookings`, ledger, (rows) => rows.reduce((sum, row) => sum + row.bookings, 0) >= bookings)

export const untilSuspended = (client: Effect.Success<typeof start>["client"], subscription: SubscriptionId) =>
  until(
    `${subscription} is suspended`,
    client.queries.subscription({ params: { subscription } }),
    ({ status }) => status === "suspended"
  )

export const tell = Effect.fnUntraced(function* (options: {
  readonly say: (line: string) => Effect.Effect<void>
  readonly serve: boolean
}) {
  const { say, serve } = options
  const { balances, client, globex, ledger, url } = yield* start
  const first = yield* ledger
  yield* say("Billing runs on PostgreSQL, the ledger in another process on SQLite. Two weeks take a second here.")

  for (const name of ["ada", "ben"]) {
    const customer = CustomerId.make(name)
    const subscription = SubscriptionId.make(name)
    yield* client.commands.RegisterCustomer({
      payload: { customer, name, email: `${name}@example.com` },
      ...once(`register ${name}`)
    })
    yield* client.commands.Subscribe({ payload: { subscription, customer, plan: "small" }, ...once(`subscribe ${name}`) })
  }
  yield* say("Ada and Ben subscribe. Each of them has an invoice: it came with the same commit.")

  const ada = { invoice: InvoiceId.make("ada-1"), cents: Cents.make(900) }
  const heard = yield* client.commands
    .PayInvoice({ payload: { ...ada, cents: Cents.make(5) }, ...once("ada pays too little") })
    .pipe(
      Effect.as("thank you"),
      Effect.catchTag("WrongAmount", ({ owed }) => Effect.succeed(`you owe ${owed}`))
    )
  yield* say(`Ada pays 5 cents and hears: ${heard}.`)
  for (const _ of [1, 2]) yield* client.commands.PayInvoice({ payload: ada, ...once("ada pays") })
  yield* say("She pays in full, and her browser repeats the call under the same key: it takes effect once.")

  yield* kill(first)
  yield* say("The ledger is killed.")
  yield* untilSuspended(client, SubscriptionId.make("ben"))
  yield* say("Ben has not paid: he was reminded, and is suspended now.")
  yield* client.commands.PayInvoice({
    payload: { invoice: InvoiceId.make("ben-1"), cents: Cents.make(900) },
    ...once("ben pays")
  })
  const { status } = yield* client.queries.subscription({ params: { subscription: SubscriptionId.make("ben") } })
  yield* say(`Ben pays, and his subscription is ${status} again: the next period has begun.`)
  for (const { invoice, status } of yield* client.queries.invoices({ params: { customer: CustomerId.make("ben") } })) {
    yield* say(`  invoice ${invoice}: ${status}`)
  }

  const other = CustomerId.make("ada")
  yield* globex.commands.RegisterCustomer({
    payload: { customer: other, name: "Ada of Globex", email: "ada@globex.example" },
    ...once("register ada")
  })
  const { name } = yield* client.queries.contact({ params: { customer: other } })
  const { name: otherName } = yield* globex.queries.contact({ params: { customer: other } })
  yield* say(`Globex has an "ada", too: its clerk sees ${otherName}, and that of Acme still ${name}.`)
  yield* globex.commands.ForgetCustomer({ payload: { customer: other }, ...once("forget ada") })
  yield* say("She asks Globex to forget her: her key is destroyed, and her name is gone from every event, log and backup.")

  yield* ledger
  yield* say("The ledger is started again, and has missed nothing:")
  for (const { bookings, cents, company, customer } of yield* untilBooked(5, balances)) {
    yield* say(`  ${customer} owes ${company} ${cents} cents after ${bookings} bookings`)
  }
  if (!serve) return
  yield* say(`It goes on until you end it:

curl ${url}/customers/ben/invoices -H 'authorization: Bearer ${tokens.acme}'
curl ${url}/commands/PayInvoice -H 'authorization: Bearer ${tokens.acme}' -H 'content-type: application/json' \\
  -H 'idempotency-key: 1' -d '{"invoice":"ben-2","cents":900}'`)
  return yield* Effect.never
})
