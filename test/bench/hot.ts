/**
 * One aggregate that all callers command, through the bus, and whoever loses a race is run again at once. Kept states (`Repository.layerCache`)
 * are there where a build has them.
 */
import { Effect, Layer, Result } from "effect"
import { Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { layerWith } from "./adapter.ts"
import { callersText } from "./contest.ts"
import { type Case, collectGarbage, during, type Run, type Span } from "./harness.ts"
import { type Place } from "./lab.ts"
import { Account, deposited, Deposit, depositHandler, MoneyDeposited } from "./model.ts"

const layerCache: Layer.Layer<never> =
  (Repository as Partial<{ readonly layerCache: Layer.Layer<never> }>).layerCache ?? Layer.empty

interface Hot {
  readonly callers: number
  /** How many events the aggregate begins with. */
  readonly before: number
  readonly span: Span
}

const commanding =
  ({ before, callers, span }: Hot): Run =>
  ({ store }) =>
    Effect.gen(function* () {
      for (let nth = 0; nth < before; nth += 500) {
        yield* EventStore.append(
          "Account-hot",
          Array.from({ length: Math.min(500, before - nth) }, () => Result.getOrThrow(Event.encode(MoneyDeposited, deposited(0))))
        )
      }
      yield* collectGarbage
      let done = 0
      const measured = yield* during(callers, span, () =>
        MessageBus.execute(Deposit, { account: "hot", amount: 1 }).pipe(
          UnitOfWork.retryConflicts({ times: Infinity }),
          Effect.tap(() => Effect.sync(() => done++))
        )
      )
      const { state, version } = yield* Repository.read(Account, "hot")
      if (state.balance !== done || version !== before + done) {
        return yield* Effect.fail(new Error(`${done} commands came to a balance of ${state.balance} at version ${version}`))
      }
      // An event and a record for each.
      return { ...measured, events: before + 2 * done }
    }).pipe(
      Effect.provide(
        depositHandler.pipe(
          Layer.provideMerge(layerWith(MessageBus)({})),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(layerCache),
          Layer.provideMerge(store)
        )
      )
    )

const hotCase = (place: Place, hot: Hot): Case => ({
  name: `${place === "postgres" ? "" : `${place}: `}hot aggregate${hot.before === 0 ? "" : ` of ${hot.before} events`}, ${callersText(hot.callers)}`,
  place,
  unit: "commands",
  ours: commanding(hot)
})

export const hotCases = (scale: number): ReadonlyArray<Case> => {
  const span = { warmUp: 500 * scale, millis: 3000 * scale }
  return [
    hotCase("postgres", { callers: 64, before: 0, span }),
    hotCase("postgres", { callers: 4, before: 5000, span }),
    hotCase("postgres", { callers: 1, before: 5000, span }),
    hotCase("sqlite", { callers: 64, before: 0, span }),
    hotCase("memory", { callers: 64, before: 0, span })
  ]
}
