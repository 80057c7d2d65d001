/**
 * What the type checker pays for an application: `npm run bench:types`. It writes one with 20 aggregates, 100 events and 50
 * commands, all handled, listened to and composed, checks it, and prints time, memory and instantiations, beside those of the
 * imports alone.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const aggregates = 20
const eventsEach = 5
const commands = 50

const range = (length: number) => Array.from({ length }, (_, n) => n)
const capital = (n: number) => `A${n}`

const imports = `import { Effect, Layer, Schema } from "effect"
import { Aggregate, Command, Event, EventStore, MessageBus, Repository, Subscription, UnitOfWork } from "eventfold"\n`

const aggregate = (a: number): string => {
  const events = range(eventsEach).map((e) => `${capital(a)}Event${e}`)
  const own = range(commands).filter((c) => c % aggregates === a)
  return `${imports}
${events.map((name) => `export const ${name} = Event.make("${name}", { amount: Schema.Int, note: Schema.String, tags: Schema.Array(Schema.String) })`).join("\n")}
export class ${capital(a)}Refused extends Schema.TaggedError<${capital(a)}Refused>()("${capital(a)}Refused", { why: Schema.String }) {}
export const ${capital(a)} = Aggregate.make("${capital(a)}", {
  events: [${events.join(", ")}],
  initial: { total: 0, last: "" },
  evolve: {
${events.map((name) => `    ${name}: ({ total }, { amount, note }) => ({ total: total + amount, last: note })`).join(",\n")}
  }
})
${own
  .map(
    (c) => `
export const Command${c} = Command.make("Command${c}", {
  payload: { id: Schema.NonEmptyString, amount: Schema.Int }, success: Schema.Int, error: ${capital(a)}Refused
})
export const Command${c}Live = MessageBus.handle(Command${c}, ({ amount, id }) =>
  Repository.execute(${capital(a)}, id, ({ total }) =>
    total < 0 ? Effect.fail(new ${capital(a)}Refused({ why: "negative" })) : Effect.succeed([${events[0]}.make({ amount, note: "", tags: [] })])
  ).pipe(Effect.map(({ state }) => state.total))
)`
  )
  .join("\n")}
export const layer = Layer.mergeAll(${[...own.map((c) => `Command${c}Live`), ...events.slice(0, 2).map((name) => `MessageBus.listen(${name}, ({ amount }) => Effect.log(amount))`)].join(", ")})
export const follower = Subscription.layer({
  name: "follow ${capital(a)}",
  events: [${events.join(", ")}],
  handlers: { ${events.map((name) => `${name}: ({ amount }) => Effect.log(amount)`).join(", ")} }
})
`
}

const main = `${imports}
${range(aggregates)
  .map((a) => `import * as M${a} from "./aggregate${a}.ts"`)
  .join("\n")}
export const layer = Layer.mergeAll(${range(aggregates)
  .map((a) => `M${a}.layer`)
  .join(", ")}).pipe(
  Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory)
)
export const program = Effect.all([${range(commands)
  .map((c) => `MessageBus.execute(M${c % aggregates}.Command${c}, { id: "1", amount: ${c} })`)
  .join(", ")}])
export const run: Promise<unknown> = Effect.runPromise(Effect.provide(program, layer))
`

/** The same imports alone: what effect and the library cost before anything is said with them. */
const bare = `${imports}
export const used = [Effect, Layer, Schema, Aggregate, Command, Event, EventStore, MessageBus, Repository, Subscription, UnitOfWork]\n`

const root = join(import.meta.dirname, "../..")

const check = (files: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  const folder = mkdtempSync(join(root, "test/bench/.types-"))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../../../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["./*.ts"] })
    )
    const output = execFileSync(
      join(root, "node_modules/.bin/tsc"),
      ["-p", folder, "--extendedDiagnostics", "--singleThreaded"],
      {
        encoding: "utf8"
      }
    )
    return Object.fromEntries(Array.from(output.matchAll(/^(.+?):\s+(\S+)$/gm), ([, name = "", value = ""]) => [name, value]))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const base = check({ "main.ts": bare })
const app = check({
  ...Object.fromEntries(range(aggregates).map((a) => [`aggregate${a}.ts`, aggregate(a)])),
  "main.ts": main
})

console.log(`${aggregates} aggregates, ${aggregates * eventsEach} events, ${commands} commands`)
for (const name of ["Instantiations", "Types", "Memory used", "Check time", "Total time"]) {
  console.log(`${name.padEnd(16)} ${(app[name] ?? "?").padStart(12)}   (imports alone: ${base[name] ?? "?"})`)
}
