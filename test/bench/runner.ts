import { Cause, Effect, Exit } from "effect"
import { makeCases } from "./cases.ts"
import { jsonlLab, sqliteLab } from "./embedded.ts"
import { type Sample, sidesOf } from "./harness.ts"
import { databasesLab, memoryLab, pgliteLab, serverLab } from "./lab.ts"

// A process that runs one side of a case after the other, as it is asked to, on one build of eventfold.

/** What it is asked to run, and where. */
export interface Order {
  readonly name: string
  readonly side: string
  readonly scale: number
  /** A server of PostgreSQL, where one is needed. */
  readonly url: string
  readonly folder: string
}

/** What it answers. */
export type Outcome = { readonly sample: Sample } | { readonly failure: string }

const run = ({ folder, name, scale, side, url }: Order) =>
  Effect.gen(function* () {
    const one = makeCases(scale).find((one) => one.name === name)
    const work = one && sidesOf(one, true)[side]
    if (one === undefined || work === undefined) return yield* Effect.die(new Error(`${name} has no side ${side}`))
    const labs = {
      postgres: () => serverLab(url),
      databases: () => databasesLab(url),
      pglite: () => pgliteLab(folder),
      sqlite: () => sqliteLab(folder),
      jsonl: () => jsonlLab(folder),
      memory: () => memoryLab
    }
    const lab = yield* labs[one.place]()
    const sample = yield* Effect.scoped(work(lab))
    const bytes = lab.bytes !== undefined && side === "ours" ? yield* lab.bytes : undefined
    yield* lab.check(sample.events, side === "raw" ? "raw" : "ours")
    return bytes === undefined ? sample : { ...sample, bytesPerEvent: bytes / sample.events }
  }).pipe(Effect.scoped, Effect.timeout("15 minutes"))

process.on("message", (order: Order) => {
  void Effect.runPromiseExit(run(order)).then((exit) =>
    process.send?.((Exit.isSuccess(exit) ? { sample: exit.value } : { failure: Cause.pretty(exit.cause) }) satisfies Outcome)
  )
})
process.on("disconnect", () => process.exit())
