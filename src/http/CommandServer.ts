/**
 * The endpoints of {@link CommandApi} on the message bus.
 *
 * @since 0.2.0
 */
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApi from "effect/http-api/HttpApi"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SchemaIssue from "effect/SchemaIssue"
import * as MessageBus from "../deciding/MessageBus.ts"
import { type Any, CommandFailure } from "../definitions/Command.ts"
import { pathText } from "../internal/json.ts"

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** Makes a `Command.CommandFailure` of a call that does not fit. The endpoints of commands have that among their errors. */
class Refusals extends HttpApiMiddleware.Service<Refusals>()("eventfold/http/Refusals") {}

/** What a caller can mend is told; what an answer lacks is the server's affair. */
const refusals = HttpApiMiddleware.layerSchemaErrorTransform(Refusals, (error) => {
  if (error.kind === "Body" || error.kind === "ResponseHeaders") return Effect.fail(error)
  const [first] = formatIssue(error.cause.issue).issues
  const failure = new CommandFailure({
    kind: "invalid",
    path: pathText(first?.path ?? []),
    problem: first?.message ?? "it does not fit"
  })
  // The endpoints have it among their errors, and so encode it.
  return Effect.fail(failure as never)
})

type HandlersOf<C extends Any> = C extends Any ? MessageBus.Handler<C["_tag"]> : never

/**
 * How the calls are executed.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<in I, out R> extends Pick<MessageBus.ServingOptions, "caller"> {
  /**
   * What each call is executed on, beside what the Layer itself is provided with: the bus and the handlers of the tenant that calls, as
   * `Tenants.layerOfTenantFrom` gives them. It may use what a middleware of the group provides, and is built and closed for each call: what is to last is held by
   * what it asks. What it fails with the caller is told. Default: nothing.
   */
  readonly provide?: Layer.Layer<I, CommandFailure, R> | undefined
}

/**
 * Handles the group of an `HttpApi` that `CommandApi.group` has made of the commands: each call is one execution on the bus, as of
 * `MessageBus.serve`. A command without a handler on the bus does not compile.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { HttpApi, HttpApiBuilder } from "effect/http-api"
 * import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"
 * import { CommandApi, CommandServer } from "eventfold/http"
 *
 * const Greet = Command.make("Greet", { payload: { name: Schema.NonEmptyString }, success: Schema.String })
 * class Api extends HttpApi.make("api").add(CommandApi.group("greetings", [Greet])) {}
 *
 * const Routes = HttpApiBuilder.layer(Api).pipe(
 *   Layer.provide(CommandServer.layer(Api, "greetings", [Greet])),
 *   Layer.provide(MessageBus.handle(Greet, ({ name }) => Effect.succeed(`Hello, ${name}`))),
 *   Layer.provide(MessageBus.layer),
 *   Layer.provide(UnitOfWork.layer),
 *   Layer.provide(EventStore.layerMemory)
 * )
 * Layer.isLayer(HttpRouter.serve(Routes)) // => true
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = <
  ApiId extends string,
  Groups extends HttpApiGroup.Constraint,
  Name extends HttpApiGroup.Identifier<Groups>,
  const Commands extends readonly [Any, ...Array<Any>],
  I = never,
  R = never
>(
  api: HttpApi.HttpApi<ApiId, Groups>,
  name: Name,
  commands: Commands,
  options?: Options<I, R>
): Layer.Layer<
  HttpApiGroup.Service<ApiId, Name>,
  never,
  | Exclude<MessageBus.MessageBus | HandlersOf<Commands[number]>, I>
  | Exclude<R, HttpApiGroup.MiddlewareProvides<HttpApiGroup.WithIdentifier<Groups, Name>>>
> => {
  interface Handlers {
    readonly handle: (
      tag: string,
      handler: (request: {
        readonly payload: never
        readonly headers: Readonly<Record<string, string | undefined>>
      }) => Effect.Effect<unknown, unknown, Exclude<Needs, I> | R>
    ) => Handlers
  }
  type Needs = MessageBus.MessageBus | HandlersOf<Commands[number]>
  const provided = (call: Effect.Effect<unknown, unknown, Needs>) =>
    options?.provide === undefined
      ? (call as Effect.Effect<unknown, unknown, Exclude<Needs, I>>)
      : Effect.provide(call, options.provide)
  const build = (handlers: Handlers) =>
    commands.reduce<Handlers>(
      (all, command) =>
        all.handle(command._tag, ({ headers, payload }) =>
          provided(MessageBus.serve(command, payload, headers, options) as Effect.Effect<unknown, unknown, Needs>)
        ),
      handlers
    )
  // As it is handled here: whoever calls it, or handles another group of the API, need not know of the middleware.
  const refusing = (api.groups[name] as HttpApiGroup.Top).middleware(Refusals)
  const own = HttpApi.make(api.identifier).annotateMerge(api.annotations).add(refusing)
  // The group has the endpoints of these commands, of their types.
  return Layer.provide(HttpApiBuilder.group(own, name as never, build as never), refusals) as never
}
