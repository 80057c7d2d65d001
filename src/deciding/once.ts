import * as Hex from "effect/encoding/Hex"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type Any, CommandDecodeError, CommandFailure, CommandIdReusedError } from "../definitions/Command.ts"
import { EventDecodeError } from "../definitions/Event.ts"
import { canonicalJson } from "../internal/json.ts"
import { nameFault } from "../store/kit/index.ts"
import { type Answer, answerStream, answerType } from "./Answers.ts"
import { MessageBus } from "./bus.ts"
import { commandCodec, formatText } from "./commandCodec.ts"
import { noteCommit } from "./levels.ts"
import { CommitError, Transaction, UnitOfWork } from "./transaction.ts"
import { transact } from "./UnitOfWork.ts"

/** An execution that has an id. */
export interface Execution {
  readonly command: Any
  readonly id: string
  /** Encoded. */
  readonly payload: Schema.Json
}

const digestOf = (value: unknown): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonicalJson(value)))),
    (digest) => Hex.encode(new Uint8Array(digest))
  )

const isCommitError = Schema.is(CommitError)

/**
 * Executes a command unless that has been done under the same id: then the answer is that of the first time.
 *
 * A success is kept by the commit that it belongs to. The command's own error has rolled its unit of work back, so it is kept
 * afterwards, by itself; within another unit of work, by that one. What a unit of work fails with is no answer.
 *
 * Of several at once one commits: in this process they take turns, and what loses against another process finds that one's answer.
 */
export const once = <A, E>(
  { command, id, payload }: Execution,
  /** Runs the handler in a unit of work, the last act of which is `keep`. */
  run: (keep: (value: A) => Effect.Effect<void, CommitError, Transaction>) => Effect.Effect<A, E | CommitError, MessageBus>
): Effect.Effect<A, E | CommitError, MessageBus> =>
  Effect.gen(function* () {
    const { answers, turns, unitOfWork } = yield* MessageBus
    const stream = answerStream(command._tag, id)
    const fault = nameFault(id) ?? nameFault(stream)
    if (fault !== undefined) return yield* new CommandDecodeError({ command: command._tag, path: "id", problem: fault })
    const digest = yield* digestOf([command._tag, id, payload])
    const codec = commandCodec(command)

    /** What the first execution came to, if there was one. */
    const answered: Effect.Effect<Option.Option<Effect.Effect<A, E>>, CommitError> = Effect.gen(function* () {
      const found = yield* answers.find(command._tag, id)
      if (Option.isNone(found)) return Option.none()
      const { outcome, payload, position, value } = found.value
      if (payload !== digest) return yield* new CommandIdReusedError({ command: command._tag, id })
      yield* noteCommit(position)
      const decoded = codec[outcome].decode(value)
      if (Result.isFailure(decoded)) {
        const problem = `the answer does not fit the ${outcome} schema of command "${command._tag}" as it is today: ${formatText(decoded.failure)}`
        const cause = new TypeError(problem, { cause: decoded.failure })
        return yield* new EventDecodeError({ stream, version: 1, position, type: answerType, cause })
      }
      // What was kept is what a handler of this command gave.
      return Option.some(outcome === "success" ? Effect.succeed(decoded.success as A) : Effect.fail(decoded.success as E))
    })

    const keep = (outcome: Answer["outcome"], value: Schema.Json) =>
      answers.keep({ command: command._tag, id, payload: digest, outcome, value })
    const keepSuccess = (value: A) => Effect.flatMap(codec.answer(value), (json) => keep("success", json))
    const failed = (error: E | CommitError): Effect.Effect<A, E | CommitError> => {
      const own =
        isCommitError(error) || error instanceof CommandFailure ? undefined : Result.getOrUndefined(codec.failure.encode(error))
      const kept =
        own === undefined ? Effect.fail(error) : Effect.provideService(transact(keep("failure", own)), UnitOfWork, unitOfWork)
      return Effect.matchEffect(kept, {
        onSuccess: () => Effect.fail(error),
        // Another was first, or the answer to the commit was lost.
        onFailure: (lost) =>
          Effect.flatMap(
            Effect.catch(answered, (reason) => Effect.fail(reason._tag === "CommandIdReusedError" ? reason : lost)),
            (found) => (Option.isSome(found) ? found.value : Effect.fail(lost))
          )
      })
    }
    const attempt = Effect.flatMap(answered, (found) =>
      Option.isSome(found) ? found.value : Effect.catch(run(keepSuccess), failed)
    )
    // Within a unit of work nobody waits for a turn: two that wait for each other would wait for ever.
    const inside = Option.isSome(yield* Effect.serviceOption(Transaction))
    return yield* inside ? attempt : turns.take(stream, attempt)
  })
