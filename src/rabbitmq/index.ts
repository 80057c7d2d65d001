export * as RabbitMqTransport from "./RabbitMqTransport.ts"
