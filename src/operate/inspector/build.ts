/**
 * Makes the page: the script of the first view, one for the others, one that comes with the map, one style, and the document. `npm run build` runs it into `dist`; tests compare
 * what is packed with what it makes.
 */
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
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

/** Makes the page anew in a folder, and says what each part weighs. Fails if the page would be larger than allowed, or hold two copies. */
export const build = async (folder: string): Promise<ReadonlyArray<Part>> => {
  const chunks = await scripts()
  for (const name of ["effect", "preact"]) {
    const copies = copiesOf(name, chunks)
    if (copies.size > 1) throw new Error(`The page would hold ${name} twice: ${Array.from(copies).join(" and ")}`)
  }
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  for (const { code, fileName } of chunks) await writeFile(join(folder, fileName), code)
  await writeFile(join(folder, "inspector.css"), await style())
  for (const file of ["index.html", "icon.svg"]) await copyFile(join(here, file), join(folder, file))
  const parts: Array<Part> = []
  for (const file of (await readdir(folder)).toSorted()) {
    const content = await readFile(join(folder, file))
    parts.push({ file, bytes: content.length, compressed: gzipSync(content, { level: 9 }).length })
  }
  const first = loadedWith("inspector.js", chunks)
  const weight = parts.filter(({ file }) => first.has(file)).reduce((sum, { compressed }) => sum + compressed, 0)
  if (weight > most) throw new Error(`The script of the page takes ${weight} bytes compressed, and ${most} are allowed`)
  return parts
}

if (import.meta.main) {
  for (const { bytes, compressed, file } of await build(built)) console.log(`${file}: ${bytes} bytes, ${compressed} compressed`)
}
