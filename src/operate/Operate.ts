/**
 * Operations inside a program: what looks at its store and acts on what follows it, by the Rpcs of `Operations`, in process or over HTTP.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type * as HttpRouter from "effect/http/HttpRouter"
import type { McpServer } from "effect/ai/McpServer"
import type * as Rpc from "effect/rpc/Rpc"
import * as RpcTest from "effect/rpc/RpcTest"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { describe } from "../sql/errors.ts"
import type { Checkpoints } from "../store/Checkpoints.ts"
import type { EventStore } from "../store/EventStore.ts"
import { register } from "./agents/registering.ts"
import { asked, refusalToldTo } from "./acting/recording.ts"
import { type Desk, makeDesk } from "./acting/desk.ts"
import { clientOf } from "./acting/performing.ts"
import { makeInMemory } from "./acting/requests.ts"
import { makeOnSql } from "./acting/sqlRequests.ts"
import type { Act } from "./contract/acts.ts"
import { Authentication, Operator } from "./contract/authentication.ts"
import { InvalidRequestError, NotAllowedError, RefusedError, UnavailableError } from "./contract/errors.ts"
import type { Payloads } from "./contract/events.ts"
import { diagnose } from "./look/doctor.ts"
import { toldTo } from "./look/followers.ts"
import { lookAtEvents } from "./look/events.ts"
import { lookAtKept } from "./look/kept.ts"
import { makeSampler, type Sampler } from "./look/sampler.ts"
import { lookAtStates } from "./look/states.ts"
import { verify } from "./look/verify.ts"
import { lookAtViews } from "./look/views.ts"
import { Operations, protocol } from "./Operations.ts"
import { type AnyProjection, makeParts, type Parts, type Registered } from "./parts.ts"
import { addRoutes, layerTokens, serialization } from "./serving/serving.ts"
import type { TokenOperator } from "./serving/tokens.ts"

export { type AnyProjection, type Registered } from "./parts.ts"
export { type TokenOperator } from "./serving/tokens.ts"

/**
 * What operations are made with.
 *
 * @category models
 * @since 0.2.0
 */
export interface HandlerOptions<
  Projections extends ReadonlyArray<AnyProjection> = ReadonlyArray<AnyProjection>
> extends Registered<Projections> {
  /**
   * Whether operators may act, each as far as `Operator` says. A process that runs what acts are about does them where this is `true`,
   * whoever was asked. Default: `false`, operators only look.
   */
  readonly acts?: boolean | undefined
}

/** What the handlers of a projection need. */
type Needed<P> = P extends { readonly database?: (_: never) => infer D } ? D : never

/** Acts, where they are allowed. */
const makeActs = Effect.fnUntraced(function* (parts: Parts, acts: boolean) {
  if (!acts) return undefined
  const client = clientOf(parts)
  const requests =
    client === undefined
      ? makeInMemory()
      : yield* Effect.provideService(makeOnSql(), SqlClient.SqlClient, client).pipe(
          Effect.provideContext(parts.services),
          Effect.mapError((error) => new UnavailableError({ detail: describe(error) }))
        )
  return yield* makeDesk(parts, requests)
})

const followers = (parts: Parts, sampler: Sampler, every: number | undefined) =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { payloads } = yield* Operator
      if (every !== undefined && every < 1000) {
        return yield* new InvalidRequestError({ detail: `every must be at least 1000 milliseconds, not ${every}` })
      }
      const samples = every === undefined ? Stream.fromEffect(sampler.once) : sampler.every(every)
      return Stream.mapEffect(samples, (sample) => toldTo(parts, payloads, sample))
    })
  )

const act = (
  parts: Parts,
  desk: Desk | undefined,
  request: { readonly id: string; readonly act: Act; readonly reason?: string; readonly within?: number }
) =>
  Stream.unwrap(
    Effect.gen(function* () {
      const operator = yield* Operator
      if (desk === undefined) return yield* new NotAllowedError({ detail: "acts are not allowed here: operators only look" })
      if (!operator.mayAct) return yield* new NotAllowedError({ detail: `"${operator.name}" may look, and not act` })
      return desk
        .ask({ ...request, by: operator.name })
        .pipe(
          Stream.catchTag("RefusedError", ({ detail }) =>
            Stream.fromEffect(
              Effect.flatMap(refusalToldTo(parts, operator.payloads, request.act, detail), (told) =>
                Effect.fail(new RefusedError({ detail: told }))
              )
            )
          )
        )
    })
  )

/**
 * The handlers of `Operations.Operations`, over the services where they are provided: `EventStore` and `Checkpoints`, and, as far as they are
 * there, `ParkedEvents`, `DeadLetters`, `Snapshots`, `Transport`, `MessageBus` and the database.
 *
 * **When to use**: in a program that asks in its own process, as a command line does, or that serves the group in a way of its own. Over
 * HTTP it is `Operate.layer`.
 *
 * **Details**: it needs `Operations.Authentication` when it is asked: {@link layerOperator} says that it is always the same operator. Nothing
 * is looked for while nobody asks, unless acts are allowed and the store lives in a database: then the requests of other processes are
 * looked for once a second.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { RpcTest } from "effect/rpc"
 * import { Checkpoints, EventStore, Subscription } from "eventfold"
 * import { Operate, Operations } from "eventfold/operate"
 *
 * const Mails = Subscription.layer({ name: "mails", handler: () => Effect.fail("no mail server") })
 *
 * const program = Effect.gen(function* () {
 *   const client = yield* RpcTest.makeClient(Operations.Operations)
 *   yield* Subscription.changes("mails").pipe(Stream.takeUntil(({ state }) => state === "live"), Stream.runDrain)
 *   const steps = client.Act({ id: "1", act: { _tag: "Pause", follower: "subscription:mails" } })
 *   const done = yield* Stream.runCollect(steps)
 *   return done.map(({ _tag }) => _tag)
 * })
 *
 * const Live = Layer.merge(Operate.layerHandlers({ acts: true }), Operate.layerOperator({ name: "ada", mayAct: true })).pipe(
 *   Layer.provideMerge(Mails),
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
 * )
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => ["Asked", "Taken", "Done"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerHandlers = <const Projections extends ReadonlyArray<AnyProjection> = readonly []>(
  options: HandlerOptions<Projections>
): Layer.Layer<Rpc.ToHandler<OperationsRpcs>, UnavailableError, EventStore | Checkpoints | Needed<Projections[number]>> =>
  Operations.toLayer(
    Effect.gen(function* () {
      const acts = options.acts === true
      const parts = yield* makeParts(options)
      const sampler = yield* makeSampler(parts)
      const desk = yield* makeActs(parts, acts)
      return Operations.of({
        ...lookAtEvents(parts),
        ...lookAtStates(parts),
        ...lookAtKept(parts),
        ...lookAtViews(parts, acts, protocol),
        Asked: (page) => asked(parts, desk?.requests, page),
        Doctor: () => diagnose(parts),
        Verify: () => verify(parts),
        Followers: ({ every }) => followers(parts, sampler, every),
        Act: (request) => act(parts, desk, request)
      })
    })
  )

/** The Rpcs of the group. */
type OperationsRpcs = typeof Operations extends { readonly requests: ReadonlyMap<string, infer R> } ? R : never

/**
 * Every request is this operator's: for a program that asks in its own process.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerOperator = (options: {
  /** What is recorded as the author of acts. */
  readonly name: string
  /** Whether the operator may act. Default: `false`. */
  readonly mayAct?: boolean | undefined
  /** How much of payloads the operator sees. Default: `"shown"`. */
  readonly payloads?: Payloads | undefined
}): Layer.Layer<Authentication> =>
  Layer.succeed(Authentication, (effect) =>
    Effect.provideService(effect, Operator, {
      name: options.name,
      mayAct: options.mayAct === true,
      payloads: options.payloads ?? "shown"
    })
  )

/**
 * How operations are served to this machine alone: whoever may open a connection to its loopback addresses is the operator.
 *
 * @category models
 * @since 0.2.0
 */
export interface LoopbackOptions {
  /** The names under which the server is reached. Default: those of this machine alone. */
  readonly hosts?: undefined
  /** Who asks: by default the operator `local`, who may act where `acts` allows it. A list asks for tokens, a Layer does as it likes. */
  readonly authentication?: ReadonlyArray<TokenOperator> | Layer.Layer<Authentication> | undefined
  /** How much of payloads the operator `local` sees. Default: `"masked"`. */
  readonly payloads?: Payloads | undefined
}

/**
 * How operations are served to others: it has to be said who they are.
 *
 * @category models
 * @since 0.2.0
 */
export interface RemoteOptions {
  /** The names under which the server is reached, without a port, beside those of this machine: any other `Host` is refused. */
  readonly hosts: readonly [string, ...Array<string>]
  /** Who asks: operators by their tokens, or a Layer that says so of each request. */
  readonly authentication: readonly [TokenOperator, ...Array<TokenOperator>] | Layer.Layer<Authentication>
  /** Says nothing here: each operator has its own. Default: none. */
  readonly payloads?: undefined
}

/**
 * How operations are served.
 *
 * @category models
 * @since 0.2.0
 */
export type ServeOptions<Projections extends ReadonlyArray<AnyProjection> = ReadonlyArray<AnyProjection>> =
  HandlerOptions<Projections> & {
    /** Where the routes are. Default: `"/operate"`. */
    readonly path?: `/${string}` | undefined
  } & (LoopbackOptions | RemoteOptions)

const usualPath = "/operate"

const isLayer = (authentication: object): authentication is Layer.Layer<Authentication> => Layer.isLayer(authentication)

/**
 * Serves operations inside the program, as routes of its `HttpRouter`: `POST <path>/rpc` for programs (NDJSON), `GET <path>/socket` for pages
 * (a WebSocket), and with tokens `POST <path>/login` and `/logout`, which exchange a token for a cookie (`HttpOnly`, `SameSite=Strict`).
 *
 * **Details**: operators only look, unless `acts` is `true`. Without `hosts` only this machine is served: the peer's address, and the `Host`,
 * have to be those of loopback. With `hosts` it has to be said who asks. In any case a request is refused with 403 whose `Host` is another,
 * that comes from another page (`Origin`, `Sec-Fetch-Site`), or whose content type a form could send. Its routes are not logged and have no
 * spans of their own; {@link layerUntraced} also stops the one that the server makes of each request.
 *
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Checkpoints, EventStore } from "eventfold"
 * import { Operate } from "eventfold/operate"
 *
 * const Local = Operate.layer({ acts: true })
 * const Remote = Operate.layer({
 *   hosts: ["ops.example.org"],
 *   authentication: [{ name: "ada", token: Redacted.make("a secret of some length"), mayAct: true }]
 * })
 *
 * const Server = HttpRouter.serve(Local).pipe(Layer.provide(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)))
 * // @ts-expect-error: who asks has to be said
 * Operate.layer({ hosts: ["ops.example.org"] })
 * ;[Layer.isLayer(Server), Layer.isLayer(Remote)] // => [true, true]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = <const Projections extends ReadonlyArray<AnyProjection> = readonly []>(
  options: ServeOptions<Projections> = {} as ServeOptions<Projections>
): Layer.Layer<never, UnavailableError, HttpRouter.HttpRouter | EventStore | Checkpoints | Needed<Projections[number]>> => {
  const { authentication, hosts, path = usualPath, payloads = "masked" } = options
  const tokens = authentication !== undefined && !isLayer(authentication) ? authentication : []
  const Operators =
    authentication === undefined
      ? layerOperator({ name: "local", mayAct: options.acts === true, payloads })
      : isLayer(authentication)
        ? authentication
        : layerTokens(authentication)
  return Layer.effectDiscard(addRoutes({ path, hosts, tokens })).pipe(
    Layer.provide(Layer.mergeAll(layerHandlers<Projections>(options), Operators, serialization))
  )
}

/**
 * Lets the server make no spans of the requests to operations, beside those that it makes none of anyway. Provide it to
 * `HttpRouter.serve(…)`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerUntraced = (options?: {
  /** Where the routes are. Default: `"/operate"`. */
  readonly path?: `/${string}` | undefined
}): Layer.Layer<never> =>
  Layer.effect(
    HttpMiddleware.TracerDisabledWhen,
    Effect.map(HttpMiddleware.TracerDisabledWhen, (before) => (request) => {
      const { path = usualPath } = options ?? {}
      return request.url.startsWith(`${path}/`) || before(request)
    })
  )

/**
 * Registers operations with the `McpServer` of the program, for agents: what looks as tools and resources, and with `acts` the tool `act`.
 *
 * **When to use**: as `registrations` of `McpServer.layerStdio` or `McpServer.layerHttp`. Whoever serves it over HTTP says who may ask, by a
 * middleware of its own. From outside of a program `eventfold mcp <url>` does the same.
 *
 * **Details**: answers fit a context: at most 50 rows (200 of a trail or the map), payloads cut to 200 characters in lists, one event whole by its id,
 * and `next` where there is more; a question without an answer fails after 30 seconds. Text has its control and direction characters escaped,
 * and each tool says that it is data.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { McpProtocol, McpTest } from "effect/ai"
 * import { Checkpoints, EventStore } from "eventfold"
 * import { Operate } from "eventfold/operate"
 *
 * const Services = Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)
 * const Tools = Layer.provide(Operate.layerMcp({}), Services)
 *
 * const program = Effect.gen(function* () {
 *   const client = yield* McpTest.makeClient(Tools, { protocols: [McpProtocol.v2025_11_25] })
 *   const { tools } = yield* client.listTools()
 *   return tools.map(({ name }) => name).filter((name) => name === "overview" || name === "act")
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => ["overview"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerMcp = <const Projections extends ReadonlyArray<AnyProjection> = readonly []>(
  options: HandlerOptions<Projections> & {
    /** What is recorded as the author of acts. Default: `"agent"`. */
    readonly name?: string | undefined
    /** How much of payloads agents see. Default: `"masked"`. */
    readonly payloads?: Payloads | undefined
  }
): Layer.Layer<never, UnavailableError, McpServer | EventStore | Checkpoints | Needed<Projections[number]>> => {
  const { acts = false, name = "agent", payloads = "masked" } = options
  return Layer.unwrap(Effect.map(RpcTest.makeClient(Operations), (client) => register(client, acts))).pipe(
    Layer.provide(Layer.merge(layerHandlers<Projections>(options), layerOperator({ name, mayAct: acts, payloads })))
  )
}
