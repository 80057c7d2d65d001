/** The transports that the services can be connected by. Swapping one for another is this line, and nothing else. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted } from "effect"
import type { Transport } from "eventfold"
import { KafkaTransport } from "eventfold/kafka"
import { NatsTransport } from "eventfold/nats"
import { PgTransport } from "eventfold/postgres"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { RedisTransport } from "eventfold/redis"
import { groups } from "./messages.ts"

export const names = ["postgres", "nats", "redis", "rabbitmq", "kafka"] as const
export type Name = (typeof names)[number]

/** The transport over the broker (or database) at `url`. */
export const transports: Readonly<Record<Name, (url: string) => Layer.Layer<Transport.Transport, unknown>>> = {
  postgres: (url: string) =>
    PgTransport.layerWith({ schema: "transport", lease: "3 seconds" }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(url) }))
    ),
  nats: (url: string) => NatsTransport.layerWith({ connection: { servers: url }, ackWait: "3 seconds" }),
  redis: (url: string) => RedisTransport.layerWith({ lease: "3 seconds" }).pipe(Layer.provide(NodeRedis.layer({ url }))),
  rabbitmq: (url: string) => RabbitMqTransport.layer({ url, groups }),
  kafka: (url: string) => KafkaTransport.layerWith({ brokers: [url], session: "3 seconds" })
}
