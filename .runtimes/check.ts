// Runs a program on the built package in each runtime, and compiles it with each compiler. `npm run build` comes before.
import { execFile } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const here = dirname(fileURLToPath(import.meta.url))
const root = dirname(here)

const program = `
import { Effect, Layer, Schema } from "effect"
import { Aggregate, Command, Event, MessageBus, Repository, UnitOfWork } from "eventfold"
import { SqliteEventStore } from "eventfold/sqlite"

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Account = Aggregate.make("Account", {
  events: [Deposited],
  initial: 0,
  evolve: { Deposited: (balance, { amount }) => balance + amount }
})
const Deposit = Command.make("Deposit", {
  payload: { account: Schema.NonEmptyString, amount: Schema.Int },
  success: Schema.Int
})
const Handlers = MessageBus.handle(Deposit, ({ account, amount }) =>
  Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])).pipe(Effect.map(({ state }) => state))
)
const Live = Handlers.pipe(
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
)
const deposit = MessageBus.execute(Deposit, { account: "ada", amount: 5 })
const balance: number = await Effect.runPromise(Effect.provide(Effect.andThen(deposit, deposit), Live))
console.log(balance)
`

/** A project in a folder of its own that has the package and what it needs. */
const folder = mkdtempSync(join(tmpdir(), "eventfold-runtimes-"))
for (const name of ["effect", "@types/node", "undici-types"]) {
  mkdirSync(dirname(join(folder, "node_modules", name)), { recursive: true })
  symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name))
}
symlinkSync(root, join(folder, "node_modules", "eventfold"))
const compilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  module: "nodenext",
  target: "es2022",
  lib: ["es2023", "esnext.disposable", "dom"],
  types: ["node"],
  noEmit: true,
  skipLibCheck: true
}
writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }))
writeFileSync(join(folder, "main.ts"), program)

/** The one file that fits: the packages of other platforms are not installed. */
const found = (pattern: string): string => {
  const [file] = globSync(join(here, "node_modules", pattern))
  if (file === undefined) throw new Error(`${pattern} is not installed`)
  return file
}

const compilers = ["typescript-5.6", "typescript-5.9", "typescript-6.0"].map(
  (name) => [name, process.execPath, [join(here, "node_modules", name, "bin", "tsc")], ""] as const
)
const runs = [
  ...compilers,
  ["Node", process.execPath, ["--no-warnings", "main.ts"], "10\n"],
  ["Bun", found("@oven/bun-*/bin/bun"), ["run", "main.ts"], "10\n"],
  ["Deno", found("@deno/*/deno"), ["run", "--allow-all", "--no-lock", "--node-modules-dir=manual", "main.ts"], "10\n"]
] as const

/** Whether it runs as it should. */
const check = ([name, command, parameters, expected]: (typeof runs)[number]): Promise<boolean> =>
  new Promise((resolve) => {
    execFile(command, parameters, { cwd: folder, encoding: "utf8", timeout: 120_000 }, (error, stdout, stderr) => {
      const right = error === null && stdout === expected
      console.log(`${right ? "ok" : "FAILED"}  ${name}${right ? "" : `\n${error?.message ?? ""}${stdout}${stderr}`}`)
      resolve(right)
    })
  })

/** What is left, one after the other; how much of it failed. */
const left = [...runs]
const checkAll = async (): Promise<number> => {
  let failed = 0
  for (let next = left.shift(); next !== undefined; next = left.shift()) if (!(await check(next))) failed++
  return failed
}
// The compilers take one core each.
const [one, other] = await Promise.all([checkAll(), checkAll()])
rmSync(folder, { recursive: true })
process.exitCode = one + other === 0 ? 0 : 1
