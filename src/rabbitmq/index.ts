/**
 * The transport on RabbitMQ.
 *
 * @module eventfold/rabbitmq
 * @since 0.1.0
 */
export * as RabbitMqTransport from "./RabbitMqTransport.ts"
