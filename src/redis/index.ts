export * as RedisTransport from "./RedisTransport.ts"
