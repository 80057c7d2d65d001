/** How an act is asked for, and how it is told what comes of it. */
import * as Effect from "effect/Effect"
import * as Duration from "effect/Duration"
import * as Flag from "effect/cli/Flag"
import type * as Option from "effect/Option"
import * as Prompt from "effect/cli/Prompt"
import { printable } from "../../internal/printable.ts"
import { type Act, ActStep } from "../../operate/Operations.ts"
import { follow, given } from "../client.ts"
import { usage } from "../failure.ts"
import { Json, Timeout, Yes } from "../globals.ts"
import { documents, print, progress, Streams } from "../output/write.ts"

export const reason = Flag.String("reason").pipe(Flag.withDescription("Why: it is recorded with the act"), Flag.optional)

/** Asks a person whether it should be done: not with `--yes`, and where nobody can be asked it needs that. */
export const confirm = Effect.fnUntraced(function* (question: string) {
  if (yield* Yes) return
  const { isInteractive } = yield* Streams
  if (!isInteractive) return yield* usage("This needs --yes where no person can be asked.")
  const isMeant = yield* Prompt.run(Prompt.Confirm({ message: printable(question), initial: false }))
  if (!isMeant) return yield* usage("Nothing was done.")
})

/** Asks for an act, and shows how it goes until it is done. `name` stands at the bar. */
export const act = Effect.fnUntraced(function* (name: string, act: Act, reason: Option.Option<string>) {
  const isJson = yield* Json
  const within = Math.ceil(Duration.toMillis(yield* Timeout))
  const id = yield* Effect.sync(() => globalThis.crypto.randomUUID())
  const bar = yield* progress(printable(name))
  let outcome = ""
  yield* follow(
    (rpcs) => rpcs.Act({ id, act, within, ...given({ reason }) }),
    (step) => {
      if (isJson) return documents(ActStep, [step])
      if (step._tag === "Progress") return bar.step(step.position, step.target)
      if (step._tag === "Done") outcome = step.outcome
      return Effect.void
    }
  ).pipe(Effect.ensuring(bar.clear))
  if (!isJson) yield* print(printable(outcome))
})
