#!/usr/bin/env node
/** The entry of the command line: it loads the rest, so that a missing peer is one line and no trace. */
import { createRequire } from "node:module"

const resolves = (name: string): boolean => {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

const missing = ["effect/package.json", "@effect/platform-node/package.json"].filter((name) => !resolves(name))
if (missing.length > 0) {
  const names = missing.map((name) => name.replace("/package.json", "")).join(" ")
  process.stderr.write(`eventfold: The command line needs ${names}: npm install ${names}\n`)
  process.exitCode = 1
} else {
  const { main } = await import("./main.ts")
  main()
}
