/**
 * What a request must be before anything is done for it, whoever sends it. Any page that a person has open can talk to a port of this
 * machine: so the name under which it was asked for, and the page that asks, have to be this server's own.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { InvalidRequestError } from "../contract/errors.ts"

/** The names and addresses of this machine, for itself. */
const loopbackHosts: ReadonlyArray<string> = ["localhost", "127.0.0.1", "[::1]"]

const isLoopbackAddress = (address: string): boolean =>
  address === "::1" || /^(::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(address)

/** The name in a `Host` header, without the port. */
const hostIn = (host: string): string | undefined => {
  const url = Result.try(() => new URL(`http://${host}`))
  return Result.isSuccess(url) && url.success.host !== "" && url.success.pathname === "/" && url.success.username === ""
    ? url.success.hostname
    : undefined
}

/** What may be sent by a form, and by a script without asking first, is not among them. */
const contentTypes: ReadonlyArray<string> = ["application/x-ndjson", "application/ndjson", "application/json"]

/** Why a request is refused; `undefined` where it is not. */
const refusalOf = (
  hosts: ReadonlyArray<string> | undefined,
  request: { readonly method: string; readonly headers: Headers; readonly address: string | undefined }
): string | undefined => {
  const { address, headers, method } = request
  const host = headers["host"] ?? ""
  const name = hostIn(host)
  const allowed = hosts === undefined ? loopbackHosts : [...loopbackHosts, ...hosts.map((host) => host.toLowerCase())]
  if (name === undefined || !allowed.includes(name)) return "the host is none under which operations are served"
  if (hosts === undefined && (address === undefined || !isLoopbackAddress(address)))
    return "operations are served to this machine alone"
  const { origin } = headers
  if (origin !== undefined) {
    const from = Result.try(() => new URL(origin).host)
    if (Result.isFailure(from) || from.success !== host.toLowerCase()) return "another page asks"
  }
  const site = headers["sec-fetch-site"]
  if (site !== undefined && site !== "same-origin" && site !== "none") return "another page asks"
  const type = headers["content-type"]?.split(";")[0]?.trim().toLowerCase()
  if (method === "POST" && !contentTypes.includes(type ?? "")) return "the content type is none of this service"
  return undefined
}

/** The most that is read of a request, or of one line of a WebSocket, in bytes: nothing that operations take is a hundredth of it. */
export const longestBody = 1024 * 1024

const tooLong = new InvalidRequestError({
  detail: `the request is longer than ${longestBody} bytes: nothing that operations take is`
})

/** As a line that a program can read, for whoever sends so much is none of this package's clients. */
const refusedAsTooLong = HttpServerResponse.text(
  `${JSON.stringify({ _tag: tooLong._tag, detail: tooLong.detail, message: tooLong.message })}\n`,
  { status: 413, contentType: "application/x-ndjson" }
)

/** Reads the body before anything is done for it, as far as it may go; what is read is kept with the request. */
const bodyRefusal = (
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse | undefined> => {
  const said = Number(request.headers["content-length"] ?? 0)
  if (request.method !== "POST") return Effect.undefined
  if (!(said <= longestBody)) return Effect.succeed(refusedAsTooLong)
  return request.text.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(longestBody)),
    Effect.as(undefined),
    // It grew beyond the bound, or its sender has gone: who has gone hears nothing.
    Effect.catch(() => Effect.succeed(refusedAsTooLong))
  )
}

/**
 * Lets a request through, or refuses it: with 403 by whom it comes from, before anything of its body is read, and with 413 where that is too
 * long. It is not logged, and nothing behind it has spans.
 */
export const guarded = <E, R>(
  hosts: ReadonlyArray<string> | undefined,
  handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const refusal = refusalOf(hosts, {
      method: request.method,
      headers: request.headers,
      address: Option.getOrUndefined(request.remoteAddress)
    })
    if (refusal !== undefined) return HttpServerResponse.text(`Refused: ${refusal}\n`, { status: 403 })
    const refused = yield* bodyRefusal(request)
    return refused ?? (yield* Effect.withTracerEnabled(handler, false))
  }).pipe(HttpMiddleware.withLoggerDisabled)
