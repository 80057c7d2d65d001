/**
 * The endpoints of {@link CommandApi} on the message bus.
 *
 * @since 0.2.0
 */
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApi from "effect/http-api/HttpApi"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as MessageBus from "../deciding/MessageBus.ts"
import type { Any } from "../definitions/Command.ts"

type HandlersOf<C extends Any> = C extends Any ? MessageBus.Handler<C["_tag"]> : never

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
  const Commands extends readonly [Any, ...Array<Any>]
>(
  api: HttpApi.HttpApi<ApiId, Groups>,
  name: Name,
  commands: Commands,
  options?: Pick<MessageBus.ServingOptions, "caller">
): Layer.Layer<HttpApiGroup.Service<ApiId, Name>, never, MessageBus.MessageBus | HandlersOf<Commands[number]>> => {
  interface Handlers {
    readonly handle: (
      tag: string,
      handler: (request: {
        readonly payload: never
        readonly headers: Readonly<Record<string, string | undefined>>
      }) => Effect.Effect<unknown, unknown, MessageBus.MessageBus | HandlersOf<Commands[number]>>
    ) => Handlers
  }
  const build = (handlers: Handlers) =>
    commands.reduce<Handlers>(
      (all, command) =>
        all.handle(
          command._tag,
          ({ headers, payload }) =>
            MessageBus.serve(command, payload, headers, options) as Effect.Effect<
              unknown,
              unknown,
              MessageBus.MessageBus | HandlersOf<Commands[number]>
            >
        ),
      handlers
    )
  // The group has the endpoints of these commands, of their types.
  return HttpApiBuilder.group(api, name, build as never) as never
}
