/** Nothing that is seen of a failure has the password of the server in it. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Stream } from "effect"
import { Redis } from "effect/persistence"
import { Transport } from "eventfold"
import { isExpected } from "../support/brokers.ts"
import { failures, shownBy } from "../support/secrets.ts"
import { connected, freshName, ownServer } from "./support.ts"

const password = "s3cr@t"
const secret = /s3cr/

const withPassword = (url: string, password: string) => {
  const given = new URL(url)
  given.username = "shop"
  given.password = password
  return given.href
}

/** Makes the user of the tests, or gives it another password. */
const setPassword = (url: string, password: string) =>
  Redis.Redis.use(({ send }) => send("ACL", "SETUSER", "shop", "on", "resetpass", `>${password}`, "~*", "&*", "+@all")).pipe(
    Effect.provide(connected(url, {})),
    Effect.orDie
  )

const published = Transport.Transport.use(({ publish }) =>
  publish([
    {
      specversion: "1.0",
      id: "1",
      source: "/shop",
      type: "Happened",
      subject: "Thing-1",
      time: DateTime.makeUnsafe(0),
      datacontenttype: "application/json",
      data: {},
      schemaversion: 1,
      position: 1
    }
  ])
)
const received = Transport.Transport.use(({ subscribe }) =>
  Stream.runHead(subscribe({ group: "g" })).pipe(Effect.timeout("3 seconds"))
)

describe.runIf(isExpected("redis"))("a server that refuses", () => {
  it.live("does not show the password: nobody listens", () =>
    Effect.gen(function* () {
      const url = withPassword("redis://127.0.0.1:1", password)
      const shown = yield* shownBy(Effect.provide(published, connected(url, {})))
      assert.match(shown, /ECONNREFUSED/)
      assert.doesNotMatch(shown, secret)
    })
  )

  it.live("does not show the password: it has another", () =>
    Effect.gen(function* () {
      const { url } = yield* ownServer
      yield* setPassword(url, password)
      const shown = yield* shownBy(Effect.provide(published, connected(withPassword(url, `${password}-of-yesterday`), {})))
      assert.match(shown, /WRONGPASS/)
      assert.doesNotMatch(shown, secret)
    }).pipe(Effect.scoped)
  )

  it.live("does not show the password: it was stopped on the way", () =>
    Effect.gen(function* () {
      const server = yield* ownServer
      yield* setPassword(server.url, password)
      const shown = yield* published.pipe(
        Effect.andThen(Effect.promise(() => server.stop("SIGKILL"))),
        Effect.andThen(failures([published, received])),
        Effect.withSpan("all of it"),
        Effect.provide(connected(withPassword(server.url, password), { name: freshName(), timeout: "1 second" })),
        shownBy
      )
      // Of the one that publishes, of the one that waits, and of the client, in the log.
      for (const error of [/TransportError/, /TimeoutError/, /ECONNREFUSED/]) assert.match(shown, error)
      assert.doesNotMatch(shown, secret)
    }).pipe(Effect.scoped)
  )
})
