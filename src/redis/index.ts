/**
 * The transport on Redis Streams.
 *
 * @module eventfold/redis
 * @since 0.1.0
 */
export * as RedisTransport from "./RedisTransport.ts"
