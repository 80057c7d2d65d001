import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted, Schema } from "effect"
import { KafkaTransport } from "eventfold/kafka"
import { shownBy } from "../support/secrets.ts"

const secret = "s3cr%40t"

describe("the login of the brokers", () => {
  for (const password of [secret, Redacted.make(secret)]) {
    it.live(`is not shown where nobody listens (${typeof password === "string" ? "text" : "redacted"})`, () =>
      Effect.gen(function* () {
        const login = { mechanism: "PLAIN", username: "shop", password } as const
        const layer = KafkaTransport.layerWith({ brokers: ["127.0.0.1:1"], login, tls: {}, timeout: "2 seconds" })
        const shown = yield* shownBy(Layer.build(layer).pipe(Effect.scoped))
        assert.match(shown, /TransportUnavailable/)
        assert.doesNotMatch(shown, /s3cr/)
      })
    )
  }

  it.live("comes from the configuration", () =>
    Effect.gen(function* () {
      const Live = KafkaTransport.layerConfig({
        brokers: Config.Array(Schema.String, "BROKERS"),
        timeout: Config.succeed("1 second" as const)
      })
      const configured = (values: object) =>
        Layer.build(Live).pipe(
          Effect.scoped,
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(values))),
          Effect.flip,
          Effect.map(({ _tag }) => _tag)
        )
      assert.equal(yield* configured({ BROKERS: "127.0.0.1:1,127.0.0.1:2" }), "TransportError")
      assert.equal(yield* configured({}), "ConfigError")
    })
  )
})
