/**
 * Commands over HTTP, as endpoints of an `HttpApi`.
 *
 * @module eventfold/http
 * @since 0.2.0
 */
export * as CommandApi from "./CommandApi.ts"
export * as CommandServer from "./CommandServer.ts"
