import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted } from "effect"
import { NatsTransport } from "eventfold/nats"
import { shownBy } from "../support/secrets.ts"

describe("what logs in", () => {
  const redacted = Redacted.make
  const connections: Readonly<Record<string, NatsTransport.ConnectionOptions>> = {
    "a password": { servers: "127.0.0.1:1", user: "shop", pass: "s3cret" },
    "a redacted password": { servers: redacted("127.0.0.1:1"), user: redacted("shop"), pass: redacted("s3cret") },
    "a redacted token": { servers: [redacted("127.0.0.1:1")], token: redacted("s3cret") },
    "an address that has a password": { servers: redacted("nats://shop:s3cret@127.0.0.1:1") },
    "an address that is none": { servers: "nats://shop:s3cret@[nowhere" }
  }
  for (const [what, connection] of Object.entries(connections)) {
    it.live(`is not shown: ${what}`, () =>
      Effect.gen(function* () {
        const shown = yield* shownBy(Layer.build(NatsTransport.layerWith({ connection })).pipe(Effect.scoped))
        assert.match(shown, /TransportUnavailable/)
        assert.doesNotMatch(shown, /s3cret/)
      })
    )
  }

  it.live("comes from the configuration, redacted", () =>
    Effect.gen(function* () {
      const Live = NatsTransport.layerConfig({
        connection: { servers: Config.String("SERVER"), token: Config.Redacted("TOKEN") },
        stream: Config.succeed("shop")
      })
      const configured = (values: object) =>
        Layer.build(Live).pipe(
          Effect.scoped,
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(values))),
          Effect.flip,
          Effect.map(({ _tag }) => _tag)
        )
      assert.equal(yield* configured({ SERVER: "127.0.0.1:1", TOKEN: "s3cret" }), "TransportError")
      assert.equal(yield* configured({ SERVER: "127.0.0.1:1" }), "ConfigError")
    })
  )
})
