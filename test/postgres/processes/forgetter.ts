/**
 * A process that writes and forgets personal data, and stops at a step of each subject: "stands" is printed once it has come to all of them.
 * With `reads` it reads that subject instead, again and again, and prints when it began, and whether it was there.
 */
import { Deferred, Effect, Layer } from "effect"
import { EventStore, Keys, Personal, Repository, UnitOfWork } from "eventfold"
import { Customer, type Cut, cuts, layerOf, register } from "../forgetting.ts"

const { reads, round, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly round: number
  readonly reads?: string
}

let open = true
process.stdin.on("end", () => (open = false)).resume()

const stopping = Effect.gen(function* () {
  const keys = yield* Keys.Keys
  const store = yield* EventStore.EventStore
  yield* Effect.forEach(
    cuts,
    (cut: Cut) =>
      Effect.gen(function* () {
        const stands = yield* Deferred.make<void>()
        const stop = Effect.andThen(Deferred.succeed(stands, undefined), Effect.never)
        const after =
          (step: Cut) =>
          <A, E, R>(effect: Effect.Effect<A, E, R>) =>
            cut === step ? Effect.tap(effect, stop) : effect
        const stoppingKeys = Keys.Keys.of({
          ...keys,
          sealing: (subjects) => keys.sealing(subjects).pipe(after("insert"), after("transaction")),
          close: (subject, generation) => after("close")(keys.close(subject, generation)),
          destroy: (subject, generation) => (cut === "append" ? stop : after("destroy")(keys.destroy(subject, generation)))
        })
        const own = Layer.provideMerge(
          UnitOfWork.layerSql,
          Layer.effect(EventStore.EventStore, Personal.make(EventStore.asStored(store))).pipe(
            Layer.provideMerge(Layer.succeed(Keys.Keys, stoppingKeys)),
            Layer.provide(Personal.layerCrypto)
          )
        )
        const subject = `${cut}-${round}`
        const write = cut === "transaction" ? UnitOfWork.transact(register(subject)) : register(subject)
        yield* Effect.forkChild(Effect.provide(Effect.andThen(write, Personal.forget(subject)), Layer.fresh(own)))
        yield* Deferred.await(stands)
      }),
    { concurrency: "unbounded", discard: true }
  )
  console.log("stands")
  yield* Effect.never
})

const reading = (subject: string) =>
  Effect.gen(function* () {
    while (open) {
      const began = Date.now()
      const { state } = yield* Repository.read(Customer, subject)
      console.log(`${began} ${state}`)
      yield* Effect.sleep("2 millis")
    }
  })

await Effect.runPromise(
  Effect.provide(reads === undefined ? stopping : reading(reads), layerOf({ url, schema }), { local: true })
)
process.stdin.destroy()
