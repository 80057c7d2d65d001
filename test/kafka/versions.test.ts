import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import { Transport } from "eventfold"
import type { KafkaTransport } from "eventfold/kafka"
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { isExpected } from "../support/brokers.ts"
import { message, useBroker } from "../support/transports.ts"
import { layer } from "./support.ts"

/** Keys of the protocol. */
const produce = 0
const fetch = 1
const metadata = 3
const apiVersions = 18
const consumerGroupHeartbeat = 68
/** One that nobody knows. */
const unknown = 30_000

/** What arrives on a socket, frame by frame: each begins with its length. */
const frames = (socket: Socket, each: (frame: Buffer) => void): void => {
  let rest = Buffer.alloc(0)
  socket.on("data", (data: Buffer) => {
    rest = Buffer.concat([rest, data])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const length = 4 + rest.readInt32BE(0)
      each(Buffer.from(rest.subarray(0, length)))
      rest = rest.subarray(length)
    }
  })
}

/** A server on a port, until the scope closes. */
const serving = (port: number, serve: (socket: Socket) => void): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const sockets = new Set<Socket>()
        const server = createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => {})
          serve(socket)
        })
        server.listen(port, "127.0.0.1")
        await once(server, "listening")
        return { server, sockets }
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          server.close()
        })
    ),
    ({ server }) => `127.0.0.1:${(server.address() as AddressInfo).port}`
  )

/** What a broker says that it knows, changed: of each API its key and its versions, in place. */
const rewrite = (
  answer: Buffer,
  change: (key: number) => { readonly key?: number; readonly versions?: readonly [number, number] }
) => {
  // The length of the frame, the correlation, the error; then the entries, seven bytes each, behind their number and one.
  let at = 4 + 4 + 2
  let count = 0
  for (let shift = 0, byte = 0x80; (byte & 0x80) !== 0; shift += 7) {
    byte = answer.readUInt8(at++)
    count |= (byte & 0x7f) << shift
  }
  for (let n = 1; n < count; n++, at += 7) {
    const { key, versions } = change(answer.readInt16BE(at))
    if (key !== undefined) answer.writeInt16BE(key, at)
    if (versions !== undefined) {
      answer.writeInt16BE(versions[0], at + 2)
      answer.writeInt16BE(versions[1], at + 4)
    }
  }
  return answer
}

const open = (brokers: string, options: Omit<KafkaTransport.Options, "brokers"> = {}) =>
  Effect.map(Layer.build(layer(brokers, { timeout: "2 seconds", ...options })), (context) =>
    Context.get(context, Transport.Transport)
  )

const detailOf = ({ reason }: Transport.TransportError): string => {
  assert.equal(reason._tag, "TransportUnavailable")
  return reason.detail
}

const older = /the broker is older, or much newer, than the versions of Kafka that this client knows/

describe.runIf(isExpected("kafka"))("a broker that knows less than it needs to", () => {
  const broker = useBroker("kafka", { own: true })

  /** The broker, as one that knows less: the way to it changes what it says of itself. */
  const lesser = (change: Parameters<typeof rewrite>[1]) =>
    serving(broker().proxied?.listen ?? 0, (near) => {
      const far = connect(broker().proxied?.target ?? 0, "127.0.0.1")
      const asked = new Set<number>()
      far.on("error", () => {})
      near.on("close", () => far.destroy())
      far.on("close", () => near.destroy())
      frames(near, (frame) => {
        if (frame.readInt16BE(4) === apiVersions) asked.add(frame.readInt32BE(8))
        far.write(frame)
      })
      frames(far, (frame) => near.write(asked.delete(frame.readInt32BE(4)) ? rewrite(frame, change) : frame))
    })

  it.live("without the newer group protocol: its subscriptions say so, and the older one goes on", () =>
    Effect.gen(function* () {
      const brokers = yield* lesser((key) => (key === consumerGroupHeartbeat ? { key: unknown } : {}))
      const transport = yield* open(brokers, { groupProtocol: "consumer" })
      const error = yield* Effect.flip(Stream.runDrain(transport.subscribe({ group: "group" })))
      assert.match(detailOf(error), /the broker is older than the group protocol "consumer", which needs Kafka 4\.0/)

      const classic = yield* open(brokers)
      yield* classic.publish([message(1)])
      const first = yield* classic.subscribe({ group: "group" }).pipe(
        Stream.mapEffect(({ ack, message }) => Effect.as(ack, message.id)),
        Stream.take(1),
        Stream.runCollect
      )
      assert.deepEqual(Array.from(first), ["message-1"])
    }).pipe(Effect.scoped)
  )

  it.live("too old for what is published and for what is read: each is refused by the name of what it does not know", () =>
    Effect.gen(function* () {
      const brokers = yield* lesser((key) => (key === produce || key === fetch ? { versions: [0, 2] } : {}))
      const transport = yield* open(brokers)
      const published = yield* Effect.flip(transport.publish([message(1)]))
      assert.match(detailOf(published), older)
      assert.match(detailOf(published), /API Produce\. It knows the versions 0 to 2 of it\./)
      const read = yield* Effect.flip(Stream.runDrain(transport.subscribe({ group: "group" })))
      assert.match(detailOf(read), older)
      assert.match(detailOf(read), /API Fetch\. It knows the versions 0 to 2 of it\./)
    }).pipe(Effect.scoped)
  )

  it.live("too new: it has given up what this client says", () =>
    Effect.gen(function* () {
      const brokers = yield* lesser((key) => (key === metadata ? { versions: [900, 901] } : {}))
      const error = yield* Effect.flip(open(brokers))
      assert.match(detailOf(error), older)
      assert.match(detailOf(error), /API Metadata\. It knows the versions 900 to 901 of it\./)
    }).pipe(Effect.scoped)
  )
})

describe("a server that answers as a Kafka", () => {
  it.live("of 2016 does, which does not know how it is asked what it knows: refused by its age", () =>
    Effect.gen(function* () {
      const brokers = yield* serving(0, (socket) =>
        frames(socket, (frame) => {
          // The correlation, `UNSUPPORTED_VERSION`, and no entry.
          const answer = Buffer.alloc(4 + 4 + 2 + 4)
          answer.writeInt32BE(answer.length - 4, 0)
          answer.writeInt32BE(frame.readInt32BE(8), 4)
          answer.writeInt16BE(35, 8)
          socket.write(answer)
        })
      )
      const error = yield* Effect.flip(open(brokers))
      assert.match(detailOf(error), older)
    }).pipe(Effect.scoped)
  )

  it.live("and then says nothing: refused in time", () =>
    Effect.gen(function* () {
      const brokers = yield* serving(0, (socket) => frames(socket, () => {}))
      const begun = performance.now()
      const error = yield* Effect.flip(open(brokers, { timeout: "500 millis" }))
      assert.match(detailOf(error), /did not answer within 500ms/)
      assert.ok(performance.now() - begun < 10_000)
    }).pipe(Effect.scoped)
  )
})
