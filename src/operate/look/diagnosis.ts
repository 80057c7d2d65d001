/** What was looked at: good, to be thought of, or to be mended, with what to do. */
import type { Diagnosis } from "../contract/views.ts"

export const ok = (check: string, message: string): Diagnosis => ({ check, level: "ok", message, remedy: null })
export const warning = (check: string, message: string, remedy: string): Diagnosis => ({
  check,
  level: "warning",
  message,
  remedy
})
export const problem = (check: string, message: string, remedy: string): Diagnosis => ({
  check,
  level: "problem",
  message,
  remedy
})
