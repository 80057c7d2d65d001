/** Cases in which several stores do the same kinds of work on logs of the same length, each in a database of its own. */
import { Effect, type Scope } from "effect"
import { collectGarbage, during, type Run, type Span } from "./harness.ts"
import { databaseCopy } from "./lab.ts"

/** Does one operation, and says whether it appended an event. */
export type Deed = (caller: number, nth: number) => Effect.Effect<boolean, unknown>

/** A store in a database that begins with a log, which is called by so many callers. */
export interface Contestant<Kind extends string> {
  readonly name: string
  /** Makes the tables, and fills the log. */
  readonly fill: (url: string, events: number) => Effect.Effect<unknown, unknown, Scope.Scope>
  readonly open: (
    url: string,
    setting: { readonly events: number; readonly callers: number }
  ) => Effect.Effect<
    { readonly deeds: Readonly<Record<Kind, Deed>>; readonly count: Effect.Effect<number, unknown> },
    unknown,
    Scope.Scope
  >
}

/** How many callers do what, how long, and how long the log is when they begin. */
export interface Contest<Kind extends string> {
  readonly kind: Kind
  readonly callers: number
  readonly events: number
  readonly span: Span
}

/** Measures, and counts afterwards what stands. */
export const contest =
  <Kind extends string>({ fill, name, open }: Contestant<Kind>, { callers, events, kind, span }: Contest<Kind>): Run =>
  ({ address }) =>
    Effect.gen(function* () {
      const url = yield* databaseCopy(address.url, `${name}_${events}`, (url) => fill(url, events))
      const { count, deeds } = yield* open(url, { events, callers })
      let standing = events
      yield* collectGarbage
      const measured = yield* during(callers, span, (caller, nth) =>
        Effect.map(deeds[kind](caller, nth), (appended) => {
          if (appended) standing++
        })
      )
      const counted = yield* count
      if (counted !== standing) {
        return yield* Effect.fail(new Error(`${name}: ${standing} events were acknowledged, and ${counted} stand there`))
      }
      return { ...measured, events: standing }
    })

export const callersText = (callers: number): string => (callers === 1 ? "1 caller" : `${callers} callers`)
