/** One of the two services, as a process: `service.ts ordering <transport> <broker> <database> <orders>` or `service.ts shipping <transport> <broker> <file>`. */
import { NodeRuntime } from "@effect/platform-node"
import { Layer } from "effect"
import * as Ordering from "./ordering.ts"
import * as Shipping from "./shipping.ts"
import { type Name, transports } from "./transports.ts"

const [, , service, name, broker, store, orders] = process.argv as ReadonlyArray<string> as readonly [
  string,
  string,
  "ordering" | "shipping",
  Name,
  string,
  string,
  string
]

const transport = transports[name](broker)

NodeRuntime.runMain(
  service === "ordering"
    ? Layer.launch(Ordering.layer({ transport, database: store, orders: Number(orders) }))
    : Layer.launch(Shipping.layer({ transport, filename: store }))
)
