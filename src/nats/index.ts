/**
 * The transport on NATS JetStream.
 *
 * @module eventfold/nats
 * @since 0.1.0
 */
export * as NatsTransport from "./NatsTransport.ts"
