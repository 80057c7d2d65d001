/**
 * Subscription billing, as two services, for several companies. `npm run example:billing` starts both and tells a short story with them. By itself each wants:
 *
 *   main.ts billing   DATABASE_URL, COMPANIES, MASTER_KEYS, PORT (3000), PAYMENT_TERM (14 days), GRACE (7 days), PERIOD (30 days)
 *   main.ts ledger    DATABASE_URL, LEDGER_FILE (ledger.sqlite)
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import { DeadLetters, Inbox, ProcessManager, Projection, Relay, Tenants } from "eventfold"
import { PgTransport } from "eventfold/postgres"
import { SqliteClient } from "eventfold/sqlite"
import { createServer } from "node:http"
import * as Ledger from "./ledger.ts"
import * as Office from "./office.ts"
import * as Policies from "./policies.ts"
import { dunning, renewal, terms } from "./processes.ts"
import * as Server from "./server.ts"
import { Invoices } from "./view.ts"

/** The database of billing, which carries the messages to the ledger as well: see `eventfold/nats` and others for a broker. */
const Database = PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })
const Broker = Layer.provide(PgTransport.layerWith({ schema: "transport", lease: "3 seconds" }), Database)

const Processes = Layer.unwrap(
  Effect.map(terms, (terms) => Layer.merge(ProcessManager.layer(dunning(terms)), ProcessManager.layer(renewal(terms))))
)

const port = Config.Port("PORT").pipe(Config.withDefault(3000))

/** What follows the log: each company has its own, as long as it is known. */
const Followers = Layer.effectDiscard(
  Effect.forkScoped(
    Tenants.follow(
      Office.Office,
      Layer.mergeAll(Processes, Policies.erasures, Projection.layer(Invoices), Relay.layer({ name: "billing" }))
    )
  )
)

const Billing = Layer.merge(Server.layer, Followers).pipe(
  Layer.provide(Office.layer),
  Layer.provide(Layer.merge(Broker, Database)),
  Layer.provide(NodeHttpServer.layerConfig(createServer, { host: Config.succeed("127.0.0.1"), port }))
)

const LedgerLive = Ledger.layer.pipe(
  Layer.provide(Layer.merge(Inbox.layerSql, DeadLetters.layerSql)),
  Layer.provide(Broker),
  Layer.provide(SqliteClient.layerConfig({ filename: Config.String("LEDGER_FILE").pipe(Config.withDefault("ledger.sqlite")) }))
)

if (process.argv[2] === "ledger") NodeRuntime.runMain(Layer.launch(LedgerLive))
else NodeRuntime.runMain(Layer.launch(Billing))
