/**
 * The house: each wing of `src`, what it knows of others, and the rooms by which others know it. The linter's rules, the test of the
 * architecture and the picture in the README are made from this table.
 *
 * A wing knows itself and the wings that are listed, by their faces alone. Every arrow points to a lower floor, or stays on its own.
 */
export interface Wing {
  readonly floor: number
  readonly holds: string
  /** The wings that it may import. */
  readonly knows: ReadonlyArray<string>
  /** The modules that others may import; `"*"` is all of them. `"index"` is a subpath of the package, and nothing for the core. */
  readonly faces: ReadonlyArray<string>
  /** Packages beside `effect`, and modules of Node. */
  readonly packages?: boolean
}

const ground = ["definitions", "sql", "internal"]

export const house: Readonly<Record<string, Wing>> = {
  internal: { floor: 1, holds: "knows no word of the domain", knows: [], faces: ["*"] },
  definitions: { floor: 1, holds: "events, commands, aggregates: pure", knows: ["internal"], faces: ["*"] },
  sql: { floor: 1, holds: "what all who have a SqlClient share", knows: ["internal"], faces: ["*"] },
  store: {
    floor: 2,
    holds: "the ports to what is stored, in memory, and the kit for authors",
    knows: ground,
    faces: [
      "EventStore",
      "Checkpoints",
      "Snapshots",
      "ParkedEvents",
      "AuditTrail",
      "Archive",
      "tables",
      "follow",
      "inTransaction",
      "digest",
      "operations",
      "tombstone",
      "verify",
      "kit/index"
    ]
  },
  deciding: {
    floor: 3,
    holds: "unit of work, repository, decisions, message bus",
    knows: ["store", ...ground],
    faces: ["UnitOfWork", "Repository", "Decision", "MessageBus", "Answers"]
  },
  transport: { floor: 3, holds: "the port to brokers, in memory", knows: ground, faces: ["Transport", "kit"] },
  sqlite: { floor: 3, holds: "a store", knows: ["store", ...ground], faces: ["index", "tables"], packages: true },
  jsonl: { floor: 3, holds: "a store", knows: ["store", ...ground], faces: ["index"], packages: true },
  following: {
    floor: 4,
    holds: "what follows the log",
    knows: ["store", "transport", ...ground],
    faces: ["Subscription", "Relay", "names", "progress", "engine"]
  },
  consuming: {
    floor: 4,
    holds: "what follows a transport",
    knows: ["transport", "following", "store", ...ground],
    faces: ["Consumer", "Inbox", "DeadLetters", "Transport", "members"]
  },
  postgres: {
    floor: 4,
    holds: "a store and a transport",
    knows: ["store", "transport", ...ground],
    faces: ["index", "migrations", "names"],
    packages: true
  },
  nats: { floor: 4, holds: "a transport", knows: ["transport", ...ground], faces: [], packages: true },
  redis: { floor: 4, holds: "a transport", knows: ["transport", ...ground], faces: [], packages: true },
  rabbitmq: { floor: 4, holds: "a transport", knows: ["transport", ...ground], faces: [], packages: true },
  cluster: { floor: 4, holds: "a bridge to effect/cluster", knows: ["deciding", "store", ...ground], faces: [] },
  kafka: { floor: 4, holds: "a transport", knows: ["transport", ...ground], faces: [], packages: true },
  projection: { floor: 5, holds: "views", knows: ["following", "deciding", "store", ...ground], faces: ["Projection"] },
  processManager: {
    floor: 5,
    holds: "what happens over time",
    knows: ["following", "deciding", "store", ...ground],
    faces: ["ProcessManager"]
  },
  personal: {
    floor: 5,
    holds: "personal data that can be forgotten",
    knows: ["consuming", "transport", "store", ...ground],
    faces: ["Personal", "Keys"]
  },
  tenants: {
    floor: 5,
    holds: "whose store it is",
    knows: ["following", "store", ...ground],
    faces: ["Tenants"]
  },
  testing: {
    floor: 5,
    holds: "conformance suites, scenarios",
    knows: ["personal", "processManager", "projection", "deciding", "consuming", "transport", "store", ...ground],
    faces: [],
    packages: true
  },
  workflow: {
    floor: 5,
    holds: "a bridge to effect/workflow",
    knows: ["following", "deciding", "store", ...ground],
    faces: []
  },
  retention: {
    floor: 5,
    holds: "what is kept for how long",
    knows: ["following", "store", ...ground],
    faces: ["Retention"]
  },
  http: { floor: 4, holds: "commands over HTTP", knows: ["deciding", "definitions", "internal"], faces: [] },
  operate: {
    floor: 6,
    holds: "looking at it all, and acting on it",
    knows: ["projection", "processManager", "consuming", "following", "deciding", "transport", "store", ...ground],
    faces: ["Operations", "Operate", "index", "agents/registering"]
  },
  cli: {
    floor: 7,
    holds: "the command line: verbs over the operations",
    knows: ["operate", "processManager", "consuming", "sqlite", "jsonl", "postgres", "transport", "store", ...ground],
    faces: [],
    packages: true
  },
  kit: { floor: 6, holds: "what authors of adapters import", knows: ["store", "transport"], faces: [] }
}

/** Whether the module of one path below `src` may import that of another, without their endings. */
export const mayImport = (from: string, to: string): boolean => {
  const [wing = "", ...rest] = to.split("/")
  if (from.split("/")[0] === wing) return true
  const { faces = [] } = house[wing] ?? {}
  if (!faces.includes("*") && !faces.includes(rest.join("/"))) return false
  return from === "index"
    ? wing !== "internal" && wing !== "sql" && rest.join("/") !== "index"
    : (house[from.split("/")[0] ?? ""]?.knows.includes(wing) ?? false)
}
