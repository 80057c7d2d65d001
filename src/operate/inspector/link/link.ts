/** The one connection of the page: a WebSocket, over which all is asked. It connects again by itself. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { signal } from "@preact/signals"
import { Operations } from "../../Operations.ts"

const make = RpcClient.make(Operations, { disableTracing: true })

export type Client = Effect.Success<typeof make>

export const client = signal<Client | undefined>(undefined)

export const connection = signal<"connecting" | "open" | "lost">("connecting")

/** How often the page has connected: what was asked before is asked again. */
export const connections = signal(0)

/** Whether the server does not know who asks: the page then shows where a token is given. */
export const unknownOperator = signal(false)

/** The server's end of the socket, beside the page. */
const address = (): string => {
  const url = new URL("socket", location.href)
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:"
  return url.href
}

const hooks = Layer.succeed(RpcClient.ConnectionHooks)({
  onConnect: Effect.sync(() => {
    connection.value = "open"
    connections.value++
  }),
  onDisconnect: Effect.sync(() => {
    connection.value = "lost"
  })
})

/** Connects, and keeps at it for as long as the page is open. */
export const connect = (): void => {
  const protocol = RpcClient.layerProtocolSocket({ retryTransientErrors: true, retryPolicy: Schedule.spaced("1 second") }).pipe(
    Layer.provide([Socket.layerWebSocket(address()), RpcSerialization.layerNdjson, hooks]),
    Layer.provide(Socket.layerWebSocketConstructorGlobal)
  )
  const program = Effect.flatMap(make, (made) => {
    client.value = made
    return Effect.never
  })
  Effect.runFork(Effect.provide(Effect.scoped(program), protocol))
}

/** What is said where nobody knows what the server would have answered. */
export const unanswered = "The connection was lost before the answer came."

/** What went wrong, as a sentence for a person. */
const sentenceOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause) as { readonly _tag?: string; readonly message?: string } | null
  if (error?._tag === "UnauthorizedError") unknownOperator.value = true
  if (error?._tag === "RpcClientError") return unanswered
  return error?.message?.replace(/\s*\n\s*/g, " ") ?? "It failed, and the server does not say why."
}

export interface Listener<A> {
  readonly onValue: (value: A) => void
  /** `undefined` at the end of a stream that has not failed. */
  readonly onEnd?: (problem: string | undefined) => void
}

/** Runs a question; the function that it returns takes the question back, and nothing is heard of it any more. */
export const ask = <A, E>(question: Effect.Effect<A, E>, { onEnd, onValue }: Listener<A>): (() => void) => {
  let wanted = true
  const interrupt = Effect.runCallback(question, {
    onExit: (exit) => {
      if (!wanted) return
      if (Exit.isSuccess(exit)) onValue(exit.value)
      onEnd?.(Exit.isSuccess(exit) ? undefined : sentenceOf(exit.cause))
    }
  })
  return () => {
    wanted = false
    interrupt()
  }
}

/** Listens to a stream, value by value, until it ends or is taken back. */
export const listen = <A, E, E2>(
  stream: Effect.Effect<Queue.Dequeue<A, E>, E2, Scope.Scope>,
  { onEnd, onValue }: Listener<A>
): (() => void) => {
  const all = Effect.flatMap(stream, (queue) =>
    Effect.forever(Effect.flatMap(Queue.take(queue), (value) => Effect.sync(() => onValue(value))))
  ).pipe(
    Effect.scoped,
    Effect.catchCause((cause) =>
      Cause.isDone(Cause.squash(cause)) ? Effect.succeed(undefined) : Effect.succeed(sentenceOf(cause))
    )
  )
  return ask(all, { onValue: (problem) => onEnd?.(problem) })
}
