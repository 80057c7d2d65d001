import { type ChildProcess, fork, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseAst } from "vitest/node"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A fenced block of TypeScript in the documentation. */
export interface DocBlock {
  /** The file it stands in, from the project's root. */
  readonly file: string
  /** The line of its fence, from 1. Line n of the block is line `line + n` of the file. */
  readonly line: number
  readonly code: string
  /** Whether it is only compiled: its fence says `no-run`. */
  readonly compileOnly: boolean
}

/** All blocks that are fenced as `ts`: in docstrings and Markdown files below `src`, and in the Markdown files of the top level. */
export const docBlocks = (): ReadonlyArray<DocBlock> => {
  const sources = readdirSync(join(root, "src"), { encoding: "utf8", recursive: true }).filter((file) => /\.(ts|md)$/.test(file))
  const pages = readdirSync(root).filter((file) => file.endsWith(".md"))
  return [...sources.map((file) => join("src", file)), ...pages]
    .toSorted()
    .flatMap((file) => blocksOf(file, readFileSync(join(root, file), "utf8")))
}

/** The blocks of one file. */
export const blocksOf = (file: string, text: string): ReadonlyArray<DocBlock> => {
  const margin = file.endsWith(".md") ? /^/ : /^\s*\* ?/
  const blocks: Array<DocBlock> = []
  let open: { readonly line: number; readonly info: string; readonly code: Array<string> } | undefined
  for (const [index, line] of text.split("\n").entries()) {
    if (!margin.test(line)) continue
    const content = line.replace(margin, "")
    const fence = /^\s*```(.*)$/.exec(content)
    if (fence === null) open?.code.push(content)
    else if (open === undefined) open = { line: index + 1, info: (fence[1] ?? "").trim(), code: [] }
    else {
      if (/^ts\b/.test(open.info)) {
        if (open.info !== "ts" && open.info !== "ts no-run") {
          throw new Error(`${file}:${open.line}: a fence says "ts" or "ts no-run", not "${open.info}"`)
        }
        blocks.push({ file, line: open.line, code: open.code.join("\n"), compileOnly: open.info !== "ts" })
      }
      open = undefined
    }
  }
  if (open !== undefined) throw new Error(`${file}:${open.line}: the block is not closed`)
  return blocks
}

// The import stands on the block's first line, so that every line stays where it is.
const assertEqual =
  `import { deepStrictEqual } from "node:assert"; ` +
  `const assertEqual: (actual: unknown, expected: unknown) => void = deepStrictEqual; `

/**
 * The block as a module in which each `// => value` behind an expression statement, or on the line after it, asserts that the
 * two are deeply equal. A value goes on over comment lines that are indented by more than one space.
 */
const moduleOf = ({ code }: DocBlock): string => {
  let module = code
  let asserted = 0
  for (const statement of parseAst(code, { lang: "ts" }).body.toReversed()) {
    const comment = /^;?([ \t]*\n?[ \t]*)\/\/ =>( .+(?:\n[ \t]*\/\/ {2,}.+)*)/.exec(code.slice(statement.end))
    if (statement.type !== "ExpressionStatement" || comment === null) continue
    const [whole, gap, value = ""] = comment
    const expression = code.slice(statement.start, statement.end).replace(/;$/, "")
    const expected = value.replaceAll(/\n[ \t]*\/\//g, "\n")
    const after = module.slice(statement.end + whole.length)
    module = `${module.slice(0, statement.start)};assertEqual(${expression},${gap}${expected})${after}`
    asserted++
  }
  if (asserted !== code.split("// =>").length - 1) {
    throw new Error(`each "// =>" must follow an expression statement that is not inside of another statement`)
  }
  return `${asserted === 0 ? "export {}; " : assertEqual}${module}\n`
}

/** Compiles blocks, all at once, and runs them one by one in a process of their own. */
export interface DocRunner {
  /** What the compiler says of a block, each line with the place in the documentation. */
  readonly compileErrors: (block: DocBlock) => ReadonlyArray<string>
  /** Fails, with the place in the documentation, when the block throws or an assertion in it does not hold. */
  readonly run: (block: DocBlock) => Promise<void>
  readonly dispose: () => void
}

export const makeDocRunner = (blocks: ReadonlyArray<DocBlock>): DocRunner => {
  // Inside of the project, so that a block's `import … from "eventfold"` is this package.
  mkdirSync(join(root, ".cache"), { recursive: true })
  const folder = mkdtempSync(join(root, ".cache", "docs-"))
  const tsconfig = { extends: "../../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["."] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
  const malformed = new Map<DocBlock, string>()
  for (const [index, block] of blocks.entries()) {
    try {
      writeFileSync(join(folder, `block-${index}.ts`), moduleOf(block))
    } catch (error) {
      malformed.set(block, `${block.file}:${block.line}: ${String(error)}`)
    }
  }

  // "…/block-7.ts:3:1" of node and "block-7.ts(3,1)" of the compiler become "src/Event.ts:120".
  const located = (text: string): string =>
    text.replace(/(?:file:\/\/)?[^\s(]*block-(\d+)\.ts[:(](\d+)[:,]\d+\)?/g, (place, index: string, line: string) => {
      const block = blocks[Number(index)]
      return block === undefined ? place : `${block.file}:${block.line + Number(line)}`
    })

  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const compiled = spawnSync(process.execPath, [tsc, "--pretty", "false"], { cwd: folder, encoding: "utf8" })
  // A message may go on over indented lines.
  const errors = compiled.stdout.split(/\n(?=\S)/).filter((message) => message.trim() !== "")
  const astray = errors.find((error) => !error.startsWith("block-"))
  if (astray !== undefined || (compiled.status !== 0 && errors.length === 0)) {
    rmSync(folder, { recursive: true })
    throw new Error(`The documentation cannot be compiled: ${astray ?? compiled.stderr}`)
  }

  const fileOf = (block: DocBlock) => `block-${blocks.indexOf(block)}.ts`
  let child: ChildProcess | undefined
  return {
    compileErrors: (block) => {
      const fault = malformed.get(block)
      if (fault !== undefined) return [fault]
      return errors.filter((error) => error.startsWith(`${fileOf(block)}(`)).map((error) => located(error.trim()))
    },
    run: (block) =>
      new Promise((resolve, reject) => {
        child ??= fork(fileURLToPath(new URL("docs-process.ts", import.meta.url)), [], {
          execArgv: ["--conditions=@eventfold/source"],
          env: { ...process.env, NODE_OPTIONS: "" },
          stdio: ["ignore", "ignore", "inherit", "ipc"]
        })
        const runner = child
        const onExit = (code: number | null) => {
          child = undefined
          reject(new Error(`${block.file}:${block.line}: the block ended its process with code ${code}`))
        }
        runner.once("exit", onExit)
        runner.once("message", ({ error }: { readonly error?: string }) => {
          runner.off("exit", onExit)
          if (error === undefined) resolve()
          else reject(new Error(located(error)))
        })
        runner.send(join(folder, fileOf(block)))
      }),
    dispose: () => {
      child?.kill("SIGKILL")
      rmSync(folder, { recursive: true })
    }
  }
}
