/** CloudEvents as other producers send them, and what has to be read from them: for the codec, and for every broker. */
import assert from "node:assert/strict"
import { DateTime, Deferred, Effect, Fiber, Schema } from "effect"
import { Consumer, DeadLetters, Event, Transport } from "eventfold"

export interface Sample {
  readonly name: string
  /** The document in the JSON format. */
  readonly document: Readonly<Record<string, unknown>>
  /** The attributes of binary mode, as text, and the body. */
  readonly binary: { readonly attributes: Readonly<Record<string, string>>; readonly body: Uint8Array }
  readonly expected: Transport.CloudEvent
  /** What the handler gets of it; absent for what becomes a dead letter. */
  readonly n?: number
}

/** The type of all samples. */
export const Sampled = Event.make("com.example.sampled", { n: Schema.Int }, { published: true })

const bytes = (text: string) => new TextEncoder().encode(text)
const base = { specversion: "1.0", id: "A-1", source: "/sensors/7?unit=c", type: Sampled.type } as const

/** Samples by name. `more` are attributes. */
const sample = (
  name: string,
  n: number | undefined,
  more: Readonly<Record<string, string>>,
  data: { readonly json: Readonly<Record<string, unknown>>; readonly body: Uint8Array },
  expected: Partial<Transport.CloudEvent>
): Sample => ({
  name,
  document: { ...base, id: name, ...more, ...data.json },
  binary: { attributes: { ...base, id: name, ...more }, body: data.body },
  expected: { ...base, id: name, ...expected },
  ...(n !== undefined && { n })
})

const json = (n: number) => ({ json: { data: { n } }, body: bytes(JSON.stringify({ n })) })
const text = (text: string) => ({ json: { data: text }, body: bytes(text) })
const raw = new Uint8Array([0, 255, 128, 10])

export const samples: ReadonlyArray<Sample> = [
  sample("the required attributes alone", undefined, {}, { json: {}, body: new Uint8Array() }, {}),
  sample("no content type", 1, {}, json(1), { data: { n: 1 } }),
  sample("a content type with a parameter", 2, { datacontenttype: "application/json; charset=utf-8" }, json(2), {
    datacontenttype: "application/json; charset=utf-8",
    data: { n: 2 }
  }),
  sample("a content type of its own", 3, { datacontenttype: "application/vnd.sensor+json" }, json(3), {
    datacontenttype: "application/vnd.sensor+json",
    data: { n: 3 }
  }),
  sample(
    "JSON as Base64",
    4,
    { datacontenttype: "application/json" },
    { json: { data_base64: Buffer.from(`{"n":4}`).toString("base64") }, body: bytes(`{"n":4}`) },
    { datacontenttype: "application/json", data: { n: 4 } }
  ),
  sample("an offset and microseconds", 5, { time: "2026-03-01T12:30:45.123456+05:30", subject: "s" }, json(5), {
    time: DateTime.makeUnsafe("2026-03-01T07:00:45.123Z"),
    subject: "s",
    data: { n: 5 }
  }),
  sample(
    "unknown extensions",
    6,
    { comexampleextension1: "value", dataschema: "https://example.com/s.json", position: "north", schemaversion: "1" },
    json(6),
    {
      dataschema: "https://example.com/s.json",
      schemaversion: 1,
      extensions: { comexampleextension1: "value", position: "north" },
      data: { n: 6 }
    }
  ),
  sample("text", undefined, { datacontenttype: "text/plain; charset=utf-8" }, text("warm ☀"), {
    datacontenttype: "text/plain; charset=utf-8",
    data: "warm ☀"
  }),
  sample("XML", undefined, { datacontenttype: "application/xml" }, text('<much wow="xml"/>'), {
    datacontenttype: "application/xml",
    data: '<much wow="xml"/>'
  }),
  sample(
    "bytes",
    undefined,
    { datacontenttype: "application/vnd.apache.thrift.binary" },
    { json: { data_base64: Buffer.from(raw).toString("base64") }, body: raw },
    { datacontenttype: "application/vnd.apache.thrift.binary", data: raw }
  )
]

/** Puts on a broker what a producer of another make sends. */
export interface Foreign<E> {
  readonly structured?: (document: string) => Effect.Effect<unknown, E>
  readonly binary?: (attributes: Readonly<Record<string, string>>, body: Uint8Array) => Effect.Effect<unknown, E>
  /** A body that nobody can read, under the type of the samples. */
  readonly garbage: (text: string) => Effect.Effect<unknown, E>
  /** The bodies that nobody can read and that the broker takes. Default: all. */
  readonly texts?: ReadonlyArray<string>
}

export const garbage = ["not even JSON", `"text"`, `{"specversion":"1.0","id":"without all else"}`]

const ours: Transport.Message = {
  specversion: "1.0",
  id: "the last",
  source: "/shop",
  type: Sampled.type,
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n: 100 },
  schemaversion: 1,
  position: 1
}

/** Sends all samples in each mode, garbage between them, and an event of eventfold's own; consumes all of that by definition. */
const consumed = Effect.fnUntraced(function* <E>(transport: Transport.Transport["Service"], foreign: Foreign<E>) {
  const handled: Array<readonly [number, Transport.CloudEvent]> = []
  const last = yield* Deferred.make<void>()
  const consumer = Consumer.run(
    [Sampled],
    {
      [Sampled.type]: ({ n }, { message }) => {
        handled.push([n, message])
        return message.id === ours.id ? Deferred.succeed(last, undefined) : Effect.void
      }
    },
    { group: "g" }
  )
  const consuming = yield* Effect.forkChild(Effect.provideService(consumer, Transport.Transport, transport))
  for (const { document } of samples) yield* foreign.structured?.(JSON.stringify(document)) ?? Effect.void
  for (const text of foreign.texts ?? garbage) yield* foreign.garbage(text)
  for (const { binary } of samples) yield* foreign.binary?.(binary.attributes, binary.body) ?? Effect.void
  yield* transport.publish([ours])
  yield* Effect.raceFirst(Fiber.join(consuming), Deferred.await(last))
  yield* Fiber.interrupt(consuming)
  return { handled, parked: yield* DeadLetters.DeadLetters.use(({ list }) => list("g")) }
}, Effect.provide(DeadLetters.layerMemory))

/** Whatever other producers send is handled, or a dead letter with its bytes and its cause, and nobody waits behind it. */
export const assertReadsAll = Effect.fnUntraced(function* <E>(transport: Transport.Transport["Service"], foreign: Foreign<E>) {
  const { handled, parked } = yield* consumed(transport, foreign)
  const readable = samples.filter(({ n }) => n !== undefined)
  const modes = [foreign.structured, foreign.binary].filter((mode) => mode !== undefined).length
  const expected = Array.from({ length: modes }, () => readable.map(({ expected, n }) => [n, expected])).flat()
  assert.deepEqual(handled, [...expected, [100, ours]])
  const mute = parked.filter(({ message }) => message.source === base.source)
  assert.deepEqual(
    Object.fromEntries(mute.map(({ message }) => [message.id, message])),
    Object.fromEntries(samples.filter(({ n }) => n === undefined).map(({ expected }) => [expected.id, expected]))
  )
  const texts = foreign.texts ?? garbage
  for (const text of texts) {
    const letter = parked.find(({ message: { data } }) => data instanceof Uint8Array && Buffer.from(data).toString() === text)
    assert.ok(letter !== undefined, text)
    assert.match(letter.cause, /UnreadableMessageError: .* cannot read /)
  }
  assert.equal(parked.length, mute.length + texts.length)
})
