/**
 * The connection to the server: it comes and goes, and what is asked over it is answered, or fails in time.
 */
import { connect, createInbox, type Msg, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { attempting, detailOf, inTime, reveal, type Secret, secretsIn, unavailable, withoutSecrets } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"
import type { Outgoing } from "./encoding.ts"

/**
 * What the client takes: its servers, and how to log in, may be `Redacted`. No error shows them.
 *
 * @category models
 * @since 0.2.0
 */
export interface ConnectionOptions extends Omit<NodeConnectionOptions, "pass" | "servers" | "token" | "user"> {
  /** One server or several, as `nats://host:4222`. Default: `127.0.0.1:4222`. */
  readonly servers?: Secret | ReadonlyArray<Secret> | undefined
  /** Who logs in. Default: nobody. */
  readonly user?: Secret | undefined
  /** The password. Default: none. */
  readonly pass?: Secret | undefined
  /** A token, in place of user and password. Default: none. */
  readonly token?: Secret | undefined
}

/** The options for the client itself, and what of them must not be shown. */
const revealed = ({ pass, servers, token, user, ...options }: ConnectionOptions) => {
  const shown = { pass, token, user }
  const login = Object.fromEntries(
    Object.entries(shown).flatMap(([key, secret]) => (secret === undefined ? [] : [[key, reveal(secret)]]))
  )
  const addresses =
    servers === undefined ? [] : (Array.isArray(servers) ? (servers as ReadonlyArray<Secret>) : [servers as Secret]).map(reveal)
  const { user: _user, ...secret } = login
  return {
    settings: { ...options, ...login, ...(addresses.length === 0 ? {} : { servers: addresses }) } as NodeConnectionOptions,
    secrets: [...Object.values(secret), ...addresses.flatMap(secretsIn)]
  }
}

/** Who must be told what becomes of the connection. */
export interface Watcher {
  readonly disconnected: () => void
  readonly reconnected: () => void
  /** It has ended for good. */
  readonly ended: (detail: string) => void
}

/** Says what an answer to the nth message means, if it is a failure. */
type ErrorOf = (answer: Msg, index: number) => TransportError | undefined

export interface Connection {
  readonly nats: NatsConnection
  readonly timeout: Duration.Duration
  readonly isConnected: () => boolean
  readonly newInbox: () => string
  /** From now on these are told. */
  readonly tell: (watchers: ReadonlySet<Watcher>) => void
  /** Sends all in one go, and succeeds when all have been answered, and none of the answers is an error. */
  readonly ask: (operation: string, all: ReadonlyArray<Outgoing>, errorOf: ErrorOf) => Effect.Effect<void, TransportError>
}

/** The detail of the failure where nobody listens on a subject. */
export const noResponders = "nothing listens: no stream has the subject, or JetStream is off"

/** A batch of which not every message has been answered. */
interface Batch {
  readonly answer: (token: number, answer: Msg) => void
  readonly fail: (detail: string) => void
}

/** Messages that are on their way, each with a token by which its answer is known. */
interface Asked {
  readonly begin: (operation: string, all: ReadonlyArray<Outgoing>, errorOf: ErrorOf) => Effect.Effect<void, TransportError>
  readonly failAll: (detail: string) => void
}

/** The longest that a timer of Node knows. */
const longestTimer = 2 ** 31 - 1

const makeAsked = (nats: NatsConnection, inbox: string, timeout: Duration.Duration): Asked => {
  const millis = Math.min(Duration.toMillis(timeout), longestTimer)
  const late = `the server did not answer within ${Duration.format(timeout)}`
  let nextToken = 0
  const asked = new Map<number, Batch>()
  const failAll = (detail: string) => {
    for (const batch of new Set(asked.values())) batch.fail(detail)
  }
  nats.subscribe(`${inbox}.*`, {
    callback: (error, answer) => {
      if (error !== null) return failAll(error.message)
      const token = Number(answer.subject.slice(inbox.length + 1))
      asked.get(token)?.answer(token, answer)
    }
  })
  const begin: Asked["begin"] = (operation, all, errorOf) =>
    Effect.callback((resume) => {
      const first = nextToken
      nextToken += all.length
      let missing = all.length
      const forget = () => {
        clearTimeout(timer)
        for (let token = first; token < first + all.length; token++) asked.delete(token)
      }
      const end = (error: TransportError) => {
        forget()
        resume(Effect.fail(error))
      }
      const batch: Batch = {
        answer: (token, answer) => {
          asked.delete(token)
          const isMissing = answer.data.length === 0 && answer.headers?.code === 503
          const error = isMissing ? unavailable(operation, noResponders) : errorOf(answer, token - first)
          if (error !== undefined) end(error)
          else if (--missing === 0) {
            clearTimeout(timer)
            resume(Effect.void)
          }
        },
        fail: (detail) => end(unavailable(operation, detail))
      }
      // One timer a request, rather than a fiber: there is one for each acknowledgement.
      const timer = setTimeout(() => batch.fail(late), millis)
      try {
        let token = first
        for (const { headers, payload, subject } of all) {
          const reply = `${inbox}.${token}`
          asked.set(token++, batch)
          nats.publish(subject, payload, headers === undefined ? { reply } : { reply, headers })
        }
      } catch (cause) {
        return end(unavailable(operation, detailOf(cause), cause))
      }
      return Effect.sync(forget)
    })
  return { begin, failAll }
}

const connecting = (settings: NodeConnectionOptions | undefined, timeout: Duration.Duration) =>
  Effect.acquireRelease(
    attempting("connect", () =>
      connect({
        timeout: Duration.toMillis(timeout),
        pingInterval: 10_000,
        reconnectTimeWait: 250,
        maxReconnectAttempts: -1,
        ignoreAuthErrorAbort: true,
        noAsyncTraces: true,
        ...settings
      })
    ),
    (nats) => Effect.ignore(inTime("close", timeout)(attempting("close", () => nats.close())))
  )

/** Connects. The connection is closed with the scope, in good order if the server answers in time. */
export const openConnection = Effect.fnUntraced(function* (
  options: ConnectionOptions | undefined,
  timeout: Duration.Duration
): Effect.fn.Return<Connection, TransportError, Scope.Scope> {
  const { secrets, settings } = revealed(options ?? {})
  const nats = yield* withoutSecrets(secrets)(connecting(settings, timeout))
  const newInbox = () => createInbox(settings.inboxPrefix)
  const { begin, failAll } = makeAsked(nats, newInbox(), timeout)
  let watchers: ReadonlySet<Watcher> = new Set()
  let isConnected = true

  const disconnected = (detail: string) => {
    isConnected = false
    failAll(detail)
    for (const watcher of watchers) watcher.disconnected()
  }
  const watch = async () => {
    for await (const { type } of nats.status()) {
      if (type === "disconnect") disconnected("the connection was lost")
      if (type === "reconnect") {
        isConnected = true
        for (const watcher of watchers) watcher.reconnected()
      }
    }
    const ended = "the connection is closed"
    disconnected(ended)
    for (const watcher of watchers) watcher.ended(ended)
  }
  void watch()

  return {
    nats,
    timeout,
    newInbox,
    tell: (others) => void (watchers = others),
    isConnected: () => isConnected,
    ask: (operation, all, errorOf) =>
      Effect.suspend(() =>
        isConnected ? begin(operation, all, errorOf) : Effect.fail(unavailable(operation, "there is no connection to the server"))
      )
  }
})
