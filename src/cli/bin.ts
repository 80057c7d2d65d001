#!/usr/bin/env node
/** The entry of the command line: it loads the rest, so that a missing peer is one line and no trace. */
import { createRequire } from "node:module"

/** The oldest Node that has what this takes: `node:sqlite` among it. */
const oldest = [22, 19] as const

const isOld = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < oldest[0] || (major === oldest[0] && minor < oldest[1])
}

/** What cannot be resolved is not there: that is the answer, and no failure. */
const resolves = (name: string): boolean => {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

const missing = ["effect/package.json", "@effect/platform-node/package.json"].filter((name) => !resolves(name))
if (isOld(process.versions.node)) {
  process.stderr.write(
    `eventfold: the command line needs Node ${oldest.join(".")} or later, and this is ${process.versions.node}\n`
  )
  process.exitCode = 1
} else if (missing.length > 0) {
  const names = missing.map((name) => name.replace("/package.json", "")).join(" ")
  process.stderr.write(`eventfold: the command line needs ${names}: npm install ${names}\n`)
  process.exitCode = 1
} else {
  const { main } = await import("./main.ts")
  main()
}
