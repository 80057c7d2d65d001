/**
 * The transport on Apache Kafka. It needs the package `@platformatic/kafka`, and the Node that this asks for: 22.22, or 24.6 and newer.
 *
 * @module eventfold/kafka
 * @since 0.2.0
 */
export * as KafkaTransport from "./KafkaTransport.ts"
