/**
 * Connections and channels: opened in time, closed with their scope, and opened anew after a loss.
 */
import { type ChannelModel, connect, type SocketOptions } from "amqplib"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import type * as Scope from "effect/Scope"
import { attempting, detailOf, inTime, reveal, type Secret, secretsIn, withoutSecrets } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"

/** How to reach the broker. */
export interface Address {
  /** The nodes of a cluster: the first that answers is taken. */
  readonly urls: readonly [Secret, ...ReadonlyArray<Secret>]
  readonly socket: SocketOptions | undefined
  readonly timeout: Duration.Duration
  readonly heartbeat: Duration.Duration
}

export interface Connection {
  readonly model: ChannelModel
  /** Why it is of no use any more. */
  readonly lost: () => string | undefined
  /** Why the broker does not take messages at present. */
  readonly blocked: () => string | undefined
  /** Ends it without a word. */
  readonly abandon: () => void
}

/** How long closing in good order may take. */
export const closeGrace = "2 seconds"

/** What connections and channels have in common. */
interface Closeable {
  readonly close: () => Promise<void>
  readonly on: (event: "error" | "close", listener: (error?: Error) => void) => unknown
}

interface Opened<A> {
  readonly value: A
  /** Why it is closed. */
  readonly lost: () => string | undefined
  /** Calls back when it is closed, at once if it is already. */
  readonly onLost: (listener: () => void) => void
}

/** Opens a connection or a channel, which is closed with the scope: in good order if the broker answers. */
export const open = <A extends Closeable>(
  operation: string,
  opening: () => Promise<A>
): Effect.Effect<Opened<A>, TransportError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let error: unknown
      let closed = false
      const lost = () => (error !== undefined ? detailOf(error) : closed ? "it was closed" : undefined)
      const listeners: Array<() => void> = []
      // Also of what is given up while it opens, nothing is left open, and no event is without a listener.
      const opened = opening().then((value): Opened<A> => {
        value.on("error", (cause) => (error = cause))
        value.on("close", (cause) => {
          error ??= cause
          closed = true
          for (const listener of listeners) listener()
        })
        return { value, lost, onLost: (listener) => (closed ? listener() : listeners.push(listener)) }
      })
      const close = async () => {
        const { onLost, value } = await opened
        if (closed) return
        // A promise of `close` does not end when the connection breaks meanwhile.
        await new Promise<void>((resolve, reject) => {
          onLost(resolve)
          value.close().catch(reject)
        })
      }
      return { opened, close }
    }),
    ({ close }) => Effect.ignore(Effect.timeoutOption(Effect.tryPromise(close), closeGrace))
  ).pipe(Effect.flatMap(({ opened }) => attempting(operation, () => opened)))

const openOne = Effect.fnUntraced(function* (
  { heartbeat, socket }: Address,
  url: string
): Effect.fn.Return<Connection, TransportError, Scope.Scope> {
  const controller = yield* Effect.acquireRelease(
    Effect.sync(() => new AbortController()),
    (controller) => Effect.sync(() => controller.abort())
  )
  const abandon = () => controller.abort()
  const { lost, value } = yield* open("connect", async () => {
    const address = new URL(url)
    address.searchParams.set("heartbeat", String(Math.max(1, Math.ceil(Duration.toSeconds(heartbeat)))))
    const options = { noDelay: true, ...socket, signal: controller.signal }
    return connect(address.href, options)
  }).pipe(Effect.onInterrupt(() => Effect.sync(abandon)))
  let blocked: string | undefined
  value.on("blocked", (reason) => (blocked = reason))
  value.on("unblocked", () => (blocked = undefined))
  return { model: value, lost: () => (controller.signal.aborted ? "it was given up" : lost()), blocked: () => blocked, abandon }
})

/** Connects to the first that answers. Each has its share of the time, so that one that keeps silent leaves some to the others. */
export const openConnection = (address: Address): Effect.Effect<Connection, TransportError, Scope.Scope> => {
  const share = Duration.divideUnsafe(address.timeout, address.urls.length)
  return Effect.firstSuccessOf(
    address.urls.map((secret) => {
      const url = reveal(secret)
      return withoutSecrets(secretsIn(url))(inTime("connect", share)(openOne(address, url)))
    })
  )
}

/** What is there, opened anew when it has been lost. */
export const current = <A extends { readonly lost: () => string | undefined }>(
  ref: RcRef.RcRef<A, TransportError>
): Effect.Effect<A, TransportError, Scope.Scope> =>
  Effect.flatMap(RcRef.get(ref), (value) =>
    value.lost() === undefined ? Effect.succeed(value) : Effect.andThen(RcRef.invalidate(ref), current(ref))
  )
