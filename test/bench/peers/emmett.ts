/** Streams with Emmett on PostgreSQL. */
import { Effect } from "effect"
import { deedsOf, type Kind, perStream } from "../accounts.ts"
import { type Contestant } from "../contest.ts"
import { deposited } from "../model.ts"
import { countOf, load, openPool } from "./load.ts"

/** What is used of the packages. */
interface Event {
  readonly type: string
  readonly data: object
}

interface Store {
  readonly appendToStream: (stream: string, events: ReadonlyArray<Event>) => Promise<unknown>
  readonly schema: { readonly migrate: () => Promise<unknown> }
  readonly close: () => Promise<void>
}

interface State {
  readonly balance: number
}

interface Core {
  readonly CommandHandler: (options: {
    readonly initialState: () => State
    readonly evolve: (state: State, event: { readonly data: { readonly amount: number } }) => State
    readonly retry: object
  }) => (store: Store, stream: string, decide: (state: State) => Event) => Promise<unknown>
  readonly NoRetries: object
  readonly isExpectedVersionConflictError: (error: unknown) => boolean
}

/** As many connections as eventfold has. */
const connections = 10

const connect = (url: string) =>
  Effect.gen(function* () {
    const core = (yield* Effect.promise(() => load("@event-driven-io/emmett"))) as Core
    const postgres = (yield* Effect.promise(() => load("@event-driven-io/emmett-postgresql"))) as {
      readonly getPostgreSQLEventStore: (url: string, options: object) => Store
    }
    const pool = yield* openPool(url, connections)
    const store = yield* Effect.acquireRelease(
      Effect.sync(() =>
        postgres.getPostgreSQLEventStore(url, { schema: { autoMigration: "None" }, connectionOptions: { pooled: true, pool } })
      ),
      (store) => Effect.promise(() => store.close())
    )
    return { core, pool, store }
  })

const eventOf = (amount: number): Event => {
  const { _tag: type, ...data } = deposited(amount)
  return { type, data }
}

export const emmett: Contestant<Kind> = {
  name: "emmett",
  fill: (url, events) =>
    Effect.gen(function* () {
      const { store } = yield* connect(url)
      yield* Effect.tryPromise(() => store.schema.migrate())
      yield* Effect.forEach(
        Array.from({ length: events / perStream }, (_, account) => account),
        (account) =>
          Effect.tryPromise(() =>
            store.appendToStream(
              `Account-${account}`,
              Array.from({ length: perStream }, (_, nth) => eventOf(nth))
            )
          ),
        { concurrency: connections, discard: true }
      )
    }),
  open: (url, setting) =>
    Effect.gen(function* () {
      const { core, pool, store } = yield* connect(url)
      const handle = core.CommandHandler({
        initialState: () => ({ balance: 0 }),
        evolve: ({ balance }, { data }) => ({ balance: balance + data.amount }),
        retry: core.NoRetries
      })
      const accounts = {
        append: (account: string) =>
          Effect.as(
            Effect.tryPromise(() => store.appendToStream(`Account-${account}`, [eventOf(1)])),
            true
          ),
        deposit: (account: string) =>
          Effect.tryPromise(() =>
            handle(store, `Account-${account}`, ({ balance }) => eventOf(balance)).then(
              () => true,
              (error: unknown) => {
                if (core.isExpectedVersionConflictError(error)) return false
                throw error
              }
            )
          )
      }
      return { deeds: deedsOf(accounts, setting), count: countOf(pool, "emt_messages") }
    })
}
