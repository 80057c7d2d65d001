/** A network that falls silent: what goes to a server goes through it, until nothing does, and nobody is told. */
import assert from "node:assert/strict"
import { Context, DateTime, Effect, Exit, Layer, Queue, Schedule, Scope, Stream } from "effect"
import { Transport } from "eventfold"
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

interface Line {
  /** The address of the server by this way. */
  readonly url: string
  /** Nothing comes through the connections that are open, from now on; new ones go through. */
  readonly hush: Effect.Effect<void>
  /** Nothing comes through any connection, not even a new one, from now on. */
  readonly hushAll: Effect.Effect<void>
}

const silentLine = (target: string, listen = 0): Effect.Effect<Line, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const { hostname, port } = new URL(target)
        const open = new Set<{ readonly near: Socket; readonly far: Socket }>()
        let silent = false
        const hush = () => {
          for (const { far, near } of open) {
            near.unpipe(far)
            far.unpipe(near)
            // What is sent goes nowhere, as on a way whose middle has gone.
            near.resume()
            far.resume()
          }
        }
        const server = createServer((near) => {
          const far = connect(Number(port), hostname)
          const both = { near, far }
          open.add(both)
          for (const socket of [near, far]) {
            socket.on("error", () => {})
            socket.on("close", () => {
              open.delete(both)
              near.destroy()
              far.destroy()
            })
          }
          if (silent) return void near.resume()
          near.pipe(far)
          far.pipe(near)
        })
        server.listen(listen, "127.0.0.1")
        await once(server, "listening")
        const url = new URL(target)
        url.port = String((server.address() as AddressInfo).port)
        url.hostname = "127.0.0.1"
        const dispose = () => {
          for (const { far, near } of open) {
            near.destroy()
            far.destroy()
          }
          server.close()
        }
        return { url: url.href, hush, hushAll: () => void ((silent = true), hush()), dispose }
      }),
      ({ dispose }) => Effect.sync(dispose)
    ),
    ({ hush, hushAll, url }) => ({ url, hush: Effect.sync(hush), hushAll: Effect.sync(hushAll) })
  )

const message = (n: number): Transport.Message => ({
  specversion: "1.0",
  id: `message ${n}`,
  source: "/shop",
  type: "Placed",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  position: n
})

/**
 * Publishes, consumes, acknowledges and closes over a way that falls silent: each ends within `bound` milliseconds, and what can go on
 * over another connection does.
 */
export const assertOutlivesSilence = Effect.fnUntraced(function* (
  url: string,
  /** The transport over this way. What it needs, and is not to close with it, is of the scope. */
  over: (url: string) => Effect.Effect<Layer.Layer<Transport.Transport, unknown>, unknown, Scope.Scope>,
  bound: number,
  /** The port of the way, where the server tells its clients of it. */
  listen?: number
) {
  const within = <A, E>(what: string, effect: Effect.Effect<A, E>) =>
    Effect.timeoutOrElse(effect, {
      duration: bound,
      orElse: () => Effect.die(new assert.AssertionError({ message: `${what} took longer than ${bound} ms` }))
    })
  const again = { schedule: Schedule.spaced("50 millis") }
  const line = yield* silentLine(url, listen)
  const scope = yield* Scope.fork(yield* Effect.scope)
  const layer = Layer.fresh(yield* over(line.url))
  const transport = Context.get(yield* Layer.buildWithScope(layer, scope), Transport.Transport)
  const received = yield* Queue.unbounded<Transport.Delivery>()
  yield* transport.subscribe({ group: "g" }).pipe(
    Stream.runForEach((delivery) => Queue.offer(received, delivery)),
    Effect.retry(again),
    Effect.forkIn(scope)
  )
  /** A group that begins at its first subscription misses what came before. */
  const first = yield* Effect.raceFirst(
    Queue.take(received),
    Effect.andThen(Effect.repeat(Effect.ignore(transport.publish([message(1)])), Schedule.spaced("100 millis")), Effect.never)
  )

  yield* line.hush
  yield* within("an acknowledgement", Effect.exit(first.ack))
  // Where it has failed, the member has the message still, and says it again.
  yield* Effect.forkIn(Effect.ignore(Effect.retry(first.ack, again)), scope)
  yield* within("publishing", Effect.exit(transport.publish([message(2)])))
  yield* within("publishing over another connection", Effect.retry(transport.publish([message(3)]), again))
  const third = Effect.gen(function* () {
    while (true) {
      const delivery = yield* Queue.take(received)
      yield* Effect.ignore(delivery.ack)
      if (delivery.message.position === 3) return
    }
  })
  yield* within("consuming over another connection", third)

  yield* line.hushAll
  const publishing = yield* within("publishing in silence", Effect.flip(transport.publish([message(4)])))
  assert.equal(publishing.reason._tag, "TransportUnavailable")
  yield* within("closing", Scope.close(scope, Exit.void))
})
