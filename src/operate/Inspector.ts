/**
 * The inspector: a page that looks at a store and at what follows it, by the routes of `Operate.layer` beside it.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpStaticServer from "effect/http/HttpStaticServer"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import { UnavailableError } from "./contract/errors.ts"
import { guarded } from "./serving/guard.ts"

/**
 * How the page is served.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** Where the page is: the same as that of `Operate.layer`, whose socket it opens. Default: `"/operate"`. */
  readonly path?: `/${string}` | undefined
  /** The names under which the server is reached, as for `Operate.layer`. Default: this machine alone. */
  readonly hosts?: readonly [string, ...Array<string>] | undefined
}

/** The page loads nothing from anywhere else, runs no script but its own, and makes no markup of text; nobody may show it in a frame. */
const headers = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'"
  ].join("; "),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

/** Where the files of the page are, seen from the sources and from what is built alike. */
const files = new URL("../../dist/operate/inspector/", import.meta.url)

/** The folder of the page. Fails where it has not been built. */
const findFiles = Effect.gen(function* () {
  const fileSystem = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* path.fromFileUrl(files)
  if (yield* fileSystem.exists(path.join(folder, "index.html"))) return folder
  return yield* new UnavailableError({ detail: `the page has not been built: there is no ${folder}. npm run build makes it` })
}).pipe(
  Effect.mapError((error) =>
    error._tag === "UnavailableError" ? error : new UnavailableError({ detail: `the page cannot be read: ${error.message}` })
  )
)

/**
 * Serves the inspector beside `Operate.layer`: streams and events with the states that they led to, conversations, followers, what is
 * parked, projections, processes, a map, and what operators asked for: at `<path>/`. What it shows and lets do is up to `Operate.layer`.
 *
 * **Details**: the page is a handful of static files of this package, under a strict content security policy. It asks no other host for
 * anything. The files themselves say nothing of the store, so that who has no token yet can load them and log in.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Checkpoints, EventStore } from "eventfold"
 * import { Inspector, Operate } from "eventfold/operate"
 *
 * const Routes = Layer.mergeAll(Operate.layer({ acts: true }), Inspector.layer())
 * const Server = HttpRouter.serve(Routes).pipe(Layer.provide(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)))
 * Layer.isLayer(Server) // => true
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  options?: Options
): Layer.Layer<never, UnavailableError, HttpRouter.HttpRouter | FileSystem.FileSystem | Path.Path | HttpPlatform.HttpPlatform> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { hosts, path = "/operate" } = options ?? {}
      const router = yield* HttpRouter.HttpRouter
      const root = yield* findFiles
      const file = yield* HttpStaticServer.make({ root, cacheControl: "no-cache" }).pipe(
        Effect.mapError(({ message }) => new UnavailableError({ detail: `the page cannot be read: ${message}` }))
      )
      const page = file.pipe(Effect.catch(HttpServerRespondable.toResponse), Effect.map(HttpServerResponse.setHeaders(headers)))
      yield* router.prefixed(path).add("GET", "/*", guarded(hosts, page))
    })
  )
