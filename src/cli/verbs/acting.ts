/** How an act is asked for, and how it is told what comes of it. */
import * as Effect from "effect/Effect"
import * as Duration from "effect/Duration"
import * as Flag from "effect/cli/Flag"
import type * as Option from "effect/Option"
import * as Prompt from "effect/cli/Prompt"
import { printable } from "../../internal/printable.ts"
import {
  type Act,
  ActStep,
  InvalidRequestError,
  NobodyTookError,
  NotAllowedError,
  NotFoundError,
  NotRegisteredError,
  RefusedError,
  UnauthorizedError
} from "../../operate/Operations.ts"
import { Client, follow, given, type Rpcs } from "../client.ts"
import { asFailure, CliFailure, unreachable, usage } from "../failure.ts"
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

/** What says for sure that an act was not done. After anything else nobody knows. */
const isRefusal = (error: unknown): boolean =>
  [
    InvalidRequestError,
    NobodyTookError,
    NotAllowedError,
    NotFoundError,
    NotRegisteredError,
    RefusedError,
    UnauthorizedError
  ].some((refusal) => error instanceof refusal)

/** An act whose end was not heard of: what is known, and where it will stand. */
const inDoubt = (id: string, owner: string | undefined, hint: string, error: unknown) => {
  const { code, message, tag } = asFailure(error)
  const taken = owner === undefined ? "was asked for" : `was taken by ${owner}`
  const why = message.replace(/\.$/, "")
  return new CliFailure({
    tag,
    code,
    message: `The act ${id} ${taken}, and may have been done, or be done yet (${why}). Its record tells: eventfold read ${hint} '$operations' --backward`
  })
}

/** Fails where the process that has taken an act has fallen silent. */
const isUnderWay = (id: string) => (rpcs: Rpcs) =>
  Effect.flatMap(rpcs.Asked({ limit: 1 }), ({ items }) =>
    items.some((asked) => asked.id === id && asked.state === "silent")
      ? Effect.fail(unreachable("The process that took it is not heard of any more."))
      : Effect.void
  )

/** Asks for an act, and shows how it goes until it is done. `name` stands at the bar. */
export const act = Effect.fnUntraced(function* (name: string, act: Act, reason: Option.Option<string>) {
  const { hint } = yield* Client
  const isJson = yield* Json
  const within = Math.ceil(Duration.toMillis(yield* Timeout))
  const id = yield* Effect.sync(() => globalThis.crypto.randomUUID())
  const bar = yield* progress(printable(name))
  let owner: string | undefined
  let outcome: string | undefined
  yield* follow(
    (rpcs) => rpcs.Act({ id, act, within, ...given({ reason }) }),
    (step) => {
      if (step._tag === "Taken") owner = step.owner
      if (step._tag === "Done") outcome = step.outcome
      if (isJson) return documents(ActStep, [step])
      return step._tag === "Progress" ? bar.step(step.position, step.target) : Effect.void
    },
    isUnderWay(id)
  ).pipe(
    Effect.andThen(
      Effect.suspend(() => (outcome === undefined ? Effect.fail(unreachable("The answer broke off.")) : Effect.void))
    ),
    Effect.mapError((error) => (isRefusal(error) ? error : inDoubt(id, owner, hint, error))),
    Effect.ensuring(bar.clear)
  )
  if (!isJson) yield* print(printable(outcome ?? ""))
})
