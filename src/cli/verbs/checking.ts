/** `doctor`, `verify`: whether everything is as it should be. */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { printable } from "../../internal/printable.ts"
import { Diagnosis, VerifyStep } from "../../operate/Operations.ts"
import { ask, follow } from "../client.ts"
import { withClient } from "../connect.ts"
import { refused } from "../failure.ts"
import { Json } from "../globals.ts"
import { documents, painter, print, progress } from "../output/write.ts"
import { count, plural } from "../output/text.ts"
import type { TargetParam } from "../target.ts"

const marks = { ok: "✓", warning: "!", problem: "✗" } as const
const styles = { ok: "green", warning: "yellow", problem: "red" } as const

export const doctor = (url: TargetParam) =>
  Command.make("doctor", { url }, ({ url }) =>
    Effect.gen(function* () {
      const found = yield* ask((rpcs) => rpcs.Doctor({}))
      if (yield* Json) yield* documents(Diagnosis, found)
      else {
        const paint = yield* painter
        yield* print(
          ...found.flatMap(({ check, level, message, remedy }) => [
            `${paint(styles[level], marks[level])} ${printable(check)}: ${printable(message)}`,
            ...(remedy === null ? [] : [`    → ${printable(remedy)}`])
          ])
        )
      }
      const problems = found.filter(({ level }) => level === "problem").length
      if (problems > 0) return yield* refused(`${plural(problems, "problem")} found.`)
    }).pipe(withClient(url))
  ).pipe(Command.withDescription("Checks the store and what stands beside it, and says what to do"))

const verified = ({ chained, digest, events, findings, removed }: Extract<VerifyStep, { readonly _tag: "Verified" }>) =>
  [
    plural(events, "event"),
    ...(removed === 0 ? [] : [`${count(removed)} of them removed`]),
    plural(findings, "finding"),
    `digest ${digest}`,
    ...(chained === null ? [] : [`chained up to ${count(chained)}`])
  ].join(", ")

export const verify = (url: TargetParam) =>
  Command.make("verify", { url }, ({ url }) =>
    Effect.gen(function* () {
      const isJson = yield* Json
      const paint = yield* painter
      const bar = yield* progress("verify")
      let findings = 0
      yield* follow(
        (rpcs) => rpcs.Verify({}),
        (step) => {
          if (step._tag === "Finding") findings += 1
          if (isJson) return documents(VerifyStep, [step])
          if (step._tag === "Progress") return bar.step(step.position, step.head)
          const text =
            step._tag === "Finding"
              ? paint("red", `✗ ${step.position === null ? "" : `at ${count(step.position)}: `}${printable(step.message)}`)
              : verified(step)
          return Effect.andThen(bar.clear, print(text))
        }
      ).pipe(Effect.ensuring(bar.clear))
      if (findings > 0) return yield* refused(`The store is not as it should be: ${plural(findings, "finding")}.`)
    }).pipe(withClient(url))
  ).pipe(
    Command.withDescription(
      "Reads the whole log: positions and versions without a gap, the hash chain, checkpoints against ids, and its digest"
    )
  )
