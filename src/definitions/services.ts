import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** The keys of what belongs to one execution of a message, and not to the wiring of the program. */
export const executionKeys = {
  transaction: "eventfold/UnitOfWork/Transaction",
  metadata: "eventfold/UnitOfWork/CurrentMetadata",
  commit: "eventfold/UnitOfWork/CurrentCommit",
  tries: "eventfold/UnitOfWork/Tries",
  message: "eventfold/MessageBus/CurrentMessage",
  dispatch: "eventfold/MessageBus/CurrentDispatch"
} as const

/** What ends with the execution that it belongs to: a handler that runs later must not find it. By key, or by how keys begin. */
const passing = [
  ...Object.values(executionKeys),
  "effect/Effect/Transaction",
  "effect/Tracer/ParentSpan",
  "effect/cluster/MessageStorage/MemoryTransaction",
  "effect/cluster/MessageStorage/TransactionNotifications",
  "effect/eventlog/EventLog/HandlerTransaction",
  "effect/sql/CurrentTransactionService",
  "effect/sql/SqlClient/"
]

/** What else an execution has of Effect: its references, its scope, and the services that a test or a transaction replaces. */
const references = [
  "effect/Clock",
  "effect/ConfigProvider",
  "effect/Console",
  "effect/ErrorReporter/",
  "effect/ExecutionPlan/",
  "effect/Headers/",
  "effect/Layer/CurrentMemoMap",
  "effect/Logger/",
  "effect/Metric/",
  "effect/Random",
  "effect/References/",
  "effect/Schedule/",
  "effect/Scheduler",
  "effect/Scheduler/",
  "effect/Scope",
  "effect/Tracer",
  "effect/Tracer/",
  "effect/crypto/SecureRandom",
  "effect/crypto/WebCrypto",
  "effect/eventlog/EventLog/CurrentStoreId",
  "effect/http/FetchHttpClient/Fetch",
  "effect/http/FetchHttpClient/StreamBodyFallback",
  "effect/http/HttpClient/",
  "effect/http/HttpIncomingMessage/",
  "effect/http/HttpMiddleware/",
  "effect/http/Multipart/",
  "effect/http/UrlParams/",
  "effect/reactivity/Reactivity",
  "effect/rpc/Rpc/",
  "effect/rpc/RpcClient/CurrentHeaders",
  "effect/sql/CurrentTransformer",
  "effect/sql/SpanPropagationEnabled",
  "effect/workflow/Activity/",
  "effect/workflow/Workflow/"
]

const listed = (keys: ReadonlyArray<string>) => {
  const whole = new Set(keys)
  const beginnings = keys.filter((key) => key.endsWith("/"))
  return (key: string): boolean => whole.has(key) || beginnings.some((beginning) => key.startsWith(beginning))
}

const passes = listed(passing)
const isReference = listed(references)

/** Whether a handler gets it from the fiber that runs it, and not from where its Layer was built. */
export const belongsToExecution = (key: string): boolean => passes(key) || isReference(key)

/**
 * Whose services does a handler get? **Those that its Layer was built with; what belongs to the execution comes from the fiber that
 * runs it.**
 *
 * To the execution belong transactions, spans, the message, the scope, and Effect's references: tracer, clock, log annotations, and
 * so on. A reference that the running fiber has not set is what it was where the Layer was built; a transaction or a span never is.
 * What the Layer was built without, a reference of the program's own for instance, comes from the running fiber, too.
 *
 * `Own` is what the handler requires of each execution, and its Layer does not.
 */
export const provideBuilt = <R, Own = never>(built: Context.Context<Exclude<R, Own>>) => {
  const entries = Array.from(built.mapUnsafe)
  const defaults = Context.makeUnsafe<never>(new Map(entries.filter(([key]) => isReference(key) && !passes(key))))
  const services = Context.makeUnsafe<Exclude<R, Own>>(new Map(entries.filter(([key]) => !belongsToExecution(key))))
  return <A, E>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Own> =>
    Effect.updateContext(
      effect,
      // Whatever `R` is, it is `Own` or what the Layer was built with.
      (running: Context.Context<Own>) => Context.mergeAll(defaults, running, services) as Context.Context<R>
    )
}
