import { describe, it } from "@effect/vitest"
import { DateTime, Deferred, Duration, Effect, Exit, Fiber, Result, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Transport } from "eventfold"
import * as Kit from "eventfold/kit"
import assert from "node:assert/strict"

const message: Transport.Message = {
  specversion: "1.0",
  id: "1",
  source: "/shop",
  type: "Placed",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n: 1 },
  schemaversion: 2,
  correlationid: "c-1",
  position: 2 ** 40
}

const lost = Kit.unavailable("ack", "lost")

describe("what is in flight", () => {
  const item = { n: 1 }
  const other = { n: 2 }
  const settledWith = () => {
    const said: Array<string> = []
    const say = (what: string) => Effect.sync(() => void said.push(what))
    const inFlight = Kit.makeInFlight<{ readonly n: number }>()
    inFlight.add(item)
    return { inFlight, said, say }
  }

  it.effect("is settled once", () =>
    Effect.gen(function* () {
      const { inFlight, said, say } = settledWith()
      let settled = 0
      for (const what of ["first", "second"]) yield* inFlight.settle(item, say(what), () => settled++)
      assert.deepEqual([said, settled, inFlight.size], [["first"], 1, 0])
    })
  )

  it.effect("is settled again when that has failed, or was interrupted, and not meanwhile", () =>
    Effect.gen(function* () {
      const { inFlight, said, say } = settledWith()
      assert.equal(yield* Effect.flip(inFlight.settle(item, Effect.andThen(say("fails"), Effect.fail(lost)))), lost)
      const hanging = yield* Effect.forkChild(inFlight.settle(item, Effect.andThen(say("hangs"), Effect.never)), {
        startImmediately: true
      })
      assert.deepEqual([inFlight.size, inFlight.unsettled()], [1, []])
      yield* inFlight.settle(item, say("meanwhile"))
      yield* Fiber.interrupt(hanging)
      assert.deepEqual(inFlight.unsettled(), [item])
      yield* inFlight.settle(item, say("succeeds"))
      assert.deepEqual(said, ["fails", "hangs", "succeeds"])
    })
  )

  it.effect("does nothing after the member has left, who takes what is not about to be settled", () =>
    Effect.gen(function* () {
      const { inFlight, said, say } = settledWith()
      inFlight.add(other)
      const gate = yield* Deferred.make<void>()
      const settling = yield* Effect.forkChild(inFlight.settle(item, Effect.andThen(Deferred.await(gate), say("under way"))), {
        startImmediately: true
      })
      assert.deepEqual(inFlight.end(), [other])
      yield* inFlight.settle(other, say("later"))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(settling)
      assert.deepEqual([said, inFlight.size], [["under way"], 0])
    })
  )

  it.effect("a delivery is acknowledged, or given back after a delay that is not negative", () =>
    Effect.gen(function* () {
      const said: Array<number | undefined> = []
      const { ack, nack } = Kit.makeDelivery(message, 1, (delay) =>
        Effect.sync(() => void said.push(delay === undefined ? undefined : Duration.toMillis(delay)))
      )
      yield* ack
      for (const options of [undefined, {}, { delay: "2 seconds" }, { delay: -5 }] as const) yield* nack(options)
      assert.deepEqual(said, [undefined, 0, 0, 2000, 0])
    })
  )
})

describe("batches", () => {
  const cut = (sizes: ReadonlyArray<number>) => Kit.batchesOf(sizes, { sizeOf: (size) => size, maxItems: 3, maxBytes: 10 })

  it("keep the order, and have neither too many items nor too many bytes", () => {
    assert.deepEqual(cut([]), [])
    assert.deepEqual(cut([1, 1, 1, 1]), [[1, 1, 1], [1]])
    assert.deepEqual(cut([4, 6, 1]), [[4, 6], [1]])
    assert.deepEqual(cut([5, 6]), [[5], [6]])
  })

  it("have what is larger than all of one alone", () => {
    assert.deepEqual(cut([1, 99, 1, 1]), [[1], [99], [1, 1]])
  })

  it.prop("lose nothing", [Schema.Array(Schema.Int)], ([sizes]) => {
    const positive = sizes.map((size) => Math.abs(size) % 15)
    const batches = cut(positive)
    assert.deepEqual(batches.flat(), positive)
    for (const batch of batches) {
      const bytes = batch.reduce((sum, size) => sum + size, 0)
      assert.ok(batch.length > 0 && batch.length <= 3 && (bytes <= 10 || batch.length === 1))
    }
  })
})

describe("CloudEvents in binary mode", () => {
  const encode = (more: Partial<Transport.Message>) => Kit.encodeBinary({ ...message, ...more })

  it("have the attributes beside the data, and are read back", () => {
    const { attributes, data } = Result.getOrThrow(encode({}))
    assert.deepEqual(attributes, {
      specversion: "1.0",
      id: "1",
      source: "/shop",
      type: "Placed",
      subject: "Order-1",
      time: "2026-02-03T04:05:06.789Z",
      datacontenttype: "application/json",
      schemaversion: 2,
      correlationid: "c-1",
      position: "1099511627776"
    })
    assert.equal(data, `{"n":1}`)
    assert.deepEqual(Result.getOrThrow(Kit.decodeBinary(attributes, data)), message)
  })

  it("are read in either form of an attribute: its own type, or text", () => {
    const { attributes, data } = Result.getOrThrow(encode({}))
    for (const [schemaversion, position] of [
      ["2", 2 ** 40],
      [2, `${2 ** 40}`]
    ]) {
      assert.deepEqual(Result.getOrThrow(Kit.decodeBinary({ ...attributes, schemaversion, position }, data)), message)
    }
  })

  it("say what is wrong", () => {
    const results: ReadonlyArray<Result.Result<unknown, string>> = [
      encode({ id: "" }),
      encode({ schemaversion: 1.5 }),
      encode({ position: Infinity }),
      encode({ subject: "\ud800" }),
      Kit.decodeBinary({ specversion: "1.0", id: "1", source: "/s", type: "T", datacontenttype: "application/json" }, "no JSON"),
      Kit.decodeBinary({}, "1")
    ]
    const failures = results.map((result) => (Result.isFailure(result) ? result.failure : "a success"))
    for (const [index, expected] of [
      /id is empty/,
      /schemaversion/,
      /position/,
      /surrogate/,
      /not JSON/,
      /specversion/
    ].entries()) {
      assert.match(failures[index] ?? "", expected)
    }
  })

  it("are told from structured ones by the content type", () => {
    const types = ["application/cloudevents", "application/CloudEvents+json; charset=utf-8", "application/json"]
    const batch = "application/cloudevents-batch+json"
    assert.deepEqual([...types, batch].map(Kit.isStructured), [true, true, false, false])
  })
})

describe("questions to a server", () => {
  it.effect("fail in time, and say what else is known", () =>
    Effect.gen(function* () {
      const timeout = Duration.seconds(2)
      const asked = yield* Effect.forkChild(Effect.flip(Kit.inTime("publish", timeout, () => "it is full")(Effect.never)))
      yield* TestClock.adjust(timeout)
      assert.equal(
        (yield* Fiber.join(asked)).message,
        "TransportUnavailable during publish: the server did not answer within 2s: it is full"
      )
    })
  )

  it.effect("fail with what the client throws", () =>
    Effect.gen(function* () {
      const failing = (cause: unknown) => Effect.flip(Kit.attempting("publish", () => Promise.reject(cause as Error)))
      const coded = Object.assign(new Error(""), { code: "ECONNREFUSED" })
      assert.deepEqual(
        (yield* Effect.forEach([new Error("away"), coded, "text"], failing)).map(({ reason }) => [reason.detail, reason.cause]),
        [
          ["away", new Error("away")],
          ["ECONNREFUSED", coded],
          ["text", "text"]
        ]
      )
      assert.equal((yield* Effect.flip(Kit.attemptingSync("ack", () => JSON.parse("{") as unknown))).isRetryable, true)
    })
  )
})

describe("members", () => {
  it.effect("leave once: with their subscription, or with the Layer", () =>
    Effect.gen(function* () {
      const layer = yield* Scope.make()
      const [one, two] = [yield* Scope.make(), yield* Scope.make()]
      const left: Array<string> = []
      const members = yield* Scope.provide(Kit.makeMembers<string>(), layer)
      for (const [name, scope] of [
        ["one", one],
        ["two", two]
      ] as const) {
        const join = members.join(
          name,
          Effect.sync(() => void left.push(name))
        )
        const membership = yield* Scope.provide(join, scope)
        yield* Effect.forkIn(
          Effect.onInterrupt(Effect.never, () => Effect.sync(() => void left.push(`work of ${name}`))),
          membership
        )
      }
      yield* Effect.yieldNow
      assert.deepEqual([...members.present], ["one", "two"])
      yield* Scope.close(one, Exit.void)
      assert.deepEqual([...members.present], ["two"])
      for (const scope of [layer, two]) yield* Scope.close(scope, Exit.void)
      assert.deepEqual(left, ["work of one", "one", "work of two", "two"])
    })
  )
})
