/**
 * What the tests log. A green run prints no warning and no error: a test says which ones it expects, and these have to come.
 *
 * Any other fails the test in `core`, where time stands still between two steps. In `servers`, where an outage may last longer than
 * was thought, it is printed.
 */
import { Cause, Effect, Logger } from "effect"
import { afterEach, beforeEach } from "vitest"

interface Watch {
  expected: Array<RegExp>
  /** The lines of the test so far, at WARN and above. */
  lines: Array<string>
  /** What the test clock says of a test that takes a second: it may hang, or the machine is busy. */
  hint: string | undefined
}

const key = Symbol.for("eventfold/test/logs")
const shared = globalThis as { [key]?: Watch }

const told = ({ cause, logLevel, message }: Logger.Options<unknown>): string =>
  [logLevel, ...[message].flat(), ...(cause.reasons.length === 0 ? [] : [Cause.pretty(cause)])].join(" ")

/** Tests of one process may share the modules, and so the loggers: they are watched once. */
const install = (): Watch => {
  const watch: Watch = { expected: [], lines: [], hint: undefined }
  const loggers = Effect.runSync(Effect.service(Logger.CurrentLoggers)) as Set<Logger.Logger<unknown, unknown>>
  loggers.delete(Logger.defaultLogger)
  loggers.add(
    Logger.make((options) => {
      const line = told(options)
      if (!["Warn", "Error", "Fatal"].includes(options.logLevel)) {
        // What goes on after a failure says so.
        return / goes on, after /.test(line) ? undefined : Logger.defaultLogger.log(options)
      }
      if (/the test clock|TestClock/.test(line)) return void (watch.hint = line)
      watch.lines.push(line)
      if (strict || watch.expected.some((pattern) => pattern.test(line))) return
      console.log(line)
    })
  )
  return watch
}

const strict = process.env["EVENTFOLD_TEST_WIRINGS"] === "core"
const watch = (shared[key] ??= install())

/** The test logs such lines at WARN or above, each of them at least once. The level stands before the message. */
export const logs = (...patterns: ReadonlyArray<RegExp>): void => void watch.expected.push(...patterns)

/** Watches the tests of a file: for the setup of a project. */
export const watchLogs = (): void => {
  beforeEach(() => {
    watch.expected = []
    watch.lines = []
    watch.hint = undefined
  })
  afterEach(({ task }) => {
    if (watch.hint !== undefined && task.result?.state === "fail") console.log(watch.hint)
    const { expected, lines } = watch
    const unexpected = strict ? lines.filter((line) => !expected.some((pattern) => pattern.test(line))) : []
    if (unexpected.length > 0) {
      throw new Error(
        `It logged what it does not expect with logs(…) of test/support/logs.ts:\n${unexpected.slice(0, 20).join("\n")}`
      )
    }
    const missing = expected.filter((pattern) => !lines.some((line) => pattern.test(line)))
    if (missing.length > 0) throw new Error(`It did not log ${missing.join(", ")}, but:\n${lines.slice(0, 20).join("\n")}`)
  })
}
