import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted } from "effect"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { shownBy } from "../support/secrets.ts"

const secret = "s3cr%40t"

describe("the address of the broker", () => {
  const urls = {
    "a port where nobody listens": `amqp://shop:${secret}@127.0.0.1:1`,
    "a host that there is not": `amqp://shop:${secret}@nowhere.invalid`,
    "no URL": `amqp://shop:${secret}@[nowhere`,
    "another protocol": `http://shop:${secret}@127.0.0.1:1`
  }
  for (const [what, url] of Object.entries(urls)) {
    for (const given of [url, Redacted.make(url), [Redacted.make(url), url] as const]) {
      it.live(`does not show its password (${what}, ${typeof given === "string" ? "text" : "redacted"})`, () =>
        Effect.gen(function* () {
          const shown = yield* shownBy(Layer.build(RabbitMqTransport.layer({ url: given })).pipe(Effect.scoped))
          assert.match(shown, /TransportUnavailable/)
          assert.doesNotMatch(shown, /s3cr|shop/)
        })
      )
    }
  }

  it.live("comes from the configuration, redacted", () =>
    Effect.gen(function* () {
      const Live = RabbitMqTransport.layerConfig({ url: Config.Redacted("BROKER"), exchange: Config.succeed("shop") })
      const configured = (values: object) =>
        Layer.build(Live).pipe(
          Effect.scoped,
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(values))),
          Effect.flip,
          Effect.map(({ _tag }) => _tag)
        )
      assert.equal(yield* configured({ BROKER: urls["a port where nobody listens"] }), "TransportError")
      assert.equal(yield* configured({}), "ConfigError")
    })
  )
})
