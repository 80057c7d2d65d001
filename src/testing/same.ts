import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import assert from "node:assert/strict"
import { inspect, isDeepStrictEqual } from "node:util"

/** Equal by Effect's notion, or by that of node: the one knows Effect's dates, the other what has no notion of its own. */
export const same = (who: string, what: string, actual: unknown, expected: unknown): void => {
  if (Equal.equals(actual, expected) || isDeepStrictEqual(actual, expected)) return
  const { message } = new assert.AssertionError({ actual, expected, operator: "deepStrictEqual" })
  const difference = message.slice(message.indexOf("\n") + 1)
  throw new assert.AssertionError({ message: `${who} came to ${what}:\n${difference}`, actual, expected, operator: "then" })
}

/** What a result is, where it must be a success. */
export const succeeded = <A, E>(result: Result.Result<A, E>): A => {
  if (Result.isSuccess(result)) return result.success
  const { failure } = result
  const facts = failure instanceof Error ? `${inspect({ ...failure }, { depth: 8 })}\n${failure.message}` : inspect(failure)
  throw new assert.AssertionError({ message: `It failed, with\n${facts}`, actual: failure, operator: "then" })
}

/** The error of a result, where it must be a failure. */
export const failed = <A, E>(result: Result.Result<A, E>): E => {
  if (Result.isFailure(result)) return result.failure
  throw new assert.AssertionError({
    message: `It succeeded, where an error was expected, with\n${inspect(result.success, { depth: 8 })}`,
    actual: result.success,
    operator: "thenFails"
  })
}
