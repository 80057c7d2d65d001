export * as NatsTransport from "./NatsTransport.ts"
