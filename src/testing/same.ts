import * as Equal from "effect/Equal"
import assert from "node:assert/strict"
import { isDeepStrictEqual } from "node:util"

/** Equal by Effect's notion, or by that of node: the one knows Effect's dates, the other what has no notion of its own. */
export const same = (who: string, what: string, actual: unknown, expected: unknown): void => {
  if (Equal.equals(actual, expected) || isDeepStrictEqual(actual, expected)) return
  const { message } = new assert.AssertionError({ actual, expected, operator: "deepStrictEqual" })
  const difference = message.slice(message.indexOf("\n") + 1)
  throw new assert.AssertionError({ message: `${who} came to ${what}:\n${difference}`, actual, expected, operator: "then" })
}
