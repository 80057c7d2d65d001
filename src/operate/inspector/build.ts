/**
 * Makes the page: the script of the first view, one for the others, one that comes with the map, one style, and the document. `npm run build` runs it into `dist`; tests compare
 * what is packed with what it makes.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { type OutputChunk, rolldown } from "rolldown"

const here = fileURLToPath(new URL(".", import.meta.url))

/** Where `npm run build` puts the page, and servers look for it. */
export const built = fileURLToPath(new URL("../../../dist/operate/inspector/", import.meta.url))

/** What the script of the first view may weigh at most, compressed, in bytes; other views are loaded when it stands. */
export const most = 75_000

export interface Part {
  readonly file: string
  readonly bytes: number
  readonly compressed: number
}

/** The folders from which one package came: two of them are two copies, whose values do not know each other. */
const copiesOf = (name: string, chunks: ReadonlyArray<OutputChunk>): ReadonlySet<string> => {
  const end = `/node_modules/${name}/`
  const modules = chunks.flatMap(({ moduleIds }) => moduleIds).filter((id) => id.includes(end))
  return new Set(modules.map((id) => id.slice(0, id.lastIndexOf(end) + end.length)))
}

const scripts = async (): Promise<ReadonlyArray<OutputChunk>> => {
  const bundle = await rolldown({
    input: { inspector: join(here, "main.tsx") },
    platform: "browser",
    resolve: { conditionNames: ["browser", "import", "default"] },
    transform: { target: "es2024" }
  })
  const { output } = await bundle.generate({
    format: "es",
    minify: true,
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js"
  })
  await bundle.close()
  return output.filter((part) => part.type === "chunk")
}

const styles = ["base", "frame", "lists", "stream", "values", "events", "followers", "projections", "map"]

/** The style sheets as one, without comments and the space that nobody reads. */
const style = async (): Promise<string> => {
  const sheets = styles.map((name) => readFile(join(here, "style", `${name}.css`), "utf8"))
  return (await Promise.all(sheets))
    .join("")
    .replace(/\/\*[^]*?\*\//g, "")
    .replace(/\s+/g, " ")
    .replace(/ ?([{};,>]) ?/g, "$1")
    .replaceAll(": ", ":")
    .trim()
}

/** The scripts that are loaded with one, itself included. */
const loadedWith = (file: string, chunks: ReadonlyArray<OutputChunk>): ReadonlySet<string> => {
  const imports = chunks.find(({ fileName }) => fileName === file)?.imports ?? []
  return new Set([file, ...imports.flatMap((other) => Array.from(loadedWith(other, chunks)))])
}

/** Writes a file, at once and whole: whoever serves it meanwhile serves the old one or the new one. What is there already is left alone. */
const put = async (file: string, content: Uint8Array): Promise<void> => {
  const before = await readFile(file).catch(() => undefined)
  if (before?.equals(content) === true) return
  const unfinished = join(dirname(file), `../.${basename(file)}-${process.pid}`)
  await writeFile(unfinished, content)
  await rename(unfinished, file)
}

/** Makes the page anew in a folder, and says what each part weighs. Fails if the page would be larger than allowed, or hold two copies. */
export const build = async (folder: string): Promise<ReadonlyArray<Part>> => {
  const chunks = await scripts()
  for (const name of ["effect", "preact"]) {
    const copies = copiesOf(name, chunks)
    if (copies.size > 1) throw new Error(`The page would hold ${name} twice: ${Array.from(copies).join(" and ")}`)
  }
  const files = new Map<string, Uint8Array>([
    ...chunks.map(({ code, fileName }) => [fileName, Buffer.from(code)] as const),
    ["inspector.css", Buffer.from(await style())],
    ["index.html", await readFile(join(here, "index.html"))],
    ["icon.svg", await readFile(join(here, "icon.svg"))]
  ])
  const parts = Array.from(files, ([file, content]): Part => ({
    file,
    bytes: content.length,
    compressed: gzipSync(content, { level: 9 }).length
  })).toSorted((a, b) => (a.file < b.file ? -1 : 1))
  const first = loadedWith("inspector.js", chunks)
  const weight = parts.filter(({ file }) => first.has(file)).reduce((sum, { compressed }) => sum + compressed, 0)
  if (weight > most) throw new Error(`The script of the page takes ${weight} bytes compressed, and ${most} are allowed`)
  await mkdir(folder, { recursive: true })
  for (const file of await readdir(folder)) if (!files.has(file)) await rm(join(folder, file), { recursive: true })
  for (const [file, content] of files) await put(join(folder, file), content)
  return parts
}

if (import.meta.main) {
  for (const { bytes, compressed, file } of await build(built)) console.log(`${file}: ${bytes} bytes, ${compressed} compressed`)
}
