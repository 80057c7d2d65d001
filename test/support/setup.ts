/** Runs before each file of tests. */
import { watchLogs } from "./logs.ts"

watchLogs()
