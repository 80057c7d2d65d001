/** The operations, wherever they run: what all verbs speak to. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type { FromGroup } from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import * as Stream from "effect/Stream"
import type { Operations } from "../operate/Operations.ts"
import { inTime, Json, Timeout } from "./globals.ts"
import { note } from "./output/write.ts"

export type Rpcs = FromGroup<typeof Operations, RpcClientError>

export class Client extends Context.Service<
  Client,
  {
    readonly rpcs: Rpcs
    /** What answers, as it is told to a person. */
    readonly name: string
    /** How it is called in a command that is proposed. */
    readonly hint: string
  }
>()("eventfold/cli/Client") {}

/** Asks, and waits no longer than `--timeout`. */
export const ask = <A, E, R>(call: (rpcs: Rpcs) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(Client, ({ name, rpcs }) => inTime(name, call(rpcs)))

/** What is asked where an answer is long silent: it fails where there is nothing to wait for. */
type Question = (rpcs: Rpcs) => Effect.Effect<unknown, unknown>

const isThere: Question = (rpcs) => rpcs.Overview({})

/**
 * Goes through a stream of answers that may be silent. Whenever it was so for as long as `--timeout`, `question` is asked, which has to be
 * answered in as long: by default whether anybody is there.
 */
export const followForEver = Effect.fnUntraced(function* <A, E, R, E2, R2>(
  open: (rpcs: Rpcs) => Stream.Stream<A, E, R>,
  each: (value: A) => Effect.Effect<void, E2, R2>,
  question = isThere
) {
  const { name, rpcs } = yield* Client
  const timeout = yield* Timeout
  const heard = Latch.makeUnsafe(false)
  const listening = open(rpcs).pipe(
    Stream.tap(() => heard.open),
    Stream.runForEach(each)
  )
  const watching = Effect.gen(function* () {
    const isHeard = yield* Effect.timeoutOption(heard.await, timeout)
    heard.closeUnsafe()
    if (Option.isNone(isHeard)) yield* inTime(name, question(rpcs))
  })
  yield* Effect.raceFirst(listening, Effect.forever(watching))
})

/** Likewise, and the first answer must come in time. */
export const follow = Effect.fnUntraced(function* <A, E, R, E2, R2>(
  open: (rpcs: Rpcs) => Stream.Stream<A, E, R>,
  each: (value: A) => Effect.Effect<void, E2, R2>,
  question?: Question
) {
  const { name } = yield* Client
  const first = yield* Deferred.make<void>()
  const listening = followForEver((rpcs) => Stream.tap(open(rpcs), () => Deferred.succeed(first, undefined)), each, question)
  yield* Effect.raceFirst(listening, Effect.andThen(inTime(name, Deferred.await(first)), Effect.never))
})

/** The flags that were given, as the keys of a request. */
export const given = <const Flags extends Readonly<Record<string, Option.Option<unknown>>>>(
  flags: Flags
): { readonly [Name in keyof Flags]?: Option.Option.Value<Flags[Name]> } =>
  Object.fromEntries(Object.entries(flags).flatMap(([name, flag]) => (Option.isSome(flag) ? [[name, flag.value]] : []))) as {
    readonly [Name in keyof Flags]?: Option.Option.Value<Flags[Name]>
  }

interface PageOf<A> {
  readonly items: ReadonlyArray<A>
  readonly next: string | null
}

/** Page after page until there are so many rows, or no more. A page that is empty is not the last. */
export const collect = Effect.fnUntraced(function* <A, E, R>(
  limit: number,
  after: Option.Option<string>,
  page: (paged: { readonly after?: string; readonly limit: number }) => (rpcs: Rpcs) => Effect.Effect<PageOf<A>, E, R>
) {
  const items: Array<A> = []
  let next: string | null | undefined = Option.getOrUndefined(after)
  do {
    const found: PageOf<A> = yield* ask(
      page({ ...(next === undefined ? {} : { after: next }), limit: Math.min(500, limit - items.length) })
    )
    items.push(...found.items)
    next = found.next
  } while (next !== null && items.length < limit)
  return { items, next }
})

/** Says beside the answer that there is more, and how to get it. */
export const more = (next: string | null, flag: "after" | "from" = "after") =>
  next === null
    ? Effect.void
    : Effect.flatMap(Json, (isJson) => note(isJson ? JSON.stringify({ next }) : `There is more: --${flag} ${next}`))
