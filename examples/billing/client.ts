/** Those who call from elsewhere: a typed client, made from the API alone. */
import { Effect } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { Api } from "./api.ts"

export const connect = (baseUrl: string, token: string) =>
  HttpApiClient.make(Api, {
    baseUrl,
    transformClient: HttpClient.mapRequest(HttpClientRequest.bearerToken(token))
  }).pipe(Effect.provide(FetchHttpClient.layer))

/** The name of a call, under which it may be repeated: it takes effect once. */
export const once = (key: string) => ({ headers: { "idempotency-key": key } })
