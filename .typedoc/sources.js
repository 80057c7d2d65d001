// Puts the sources into the reference, a page for each module with a place for each line, so that its links need no host; and
// refuses a reference with a link that leads nowhere.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { Converter, RendererEvent } from "typedoc"

const sources = fileURLToPath(new URL("../src", import.meta.url))

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const page = (title, text) => {
  const lines = text.split("\n").map((line, index) => `<span id="L${index + 1}">${escaped(line)}</span>`)
  const style = ":root { color-scheme: light dark } :target { background: light-dark(#ffec99, #5c4b00) }"
  return `<!doctype html><meta charset="utf-8"><title>${title}</title><style>${style}</style><pre>${lines.join("\n")}</pre>`
}

const idsOf = (html) => new Set(Array.from(html.matchAll(/\bid="([^"]+)"/g), ([, id]) => id))

/** The links of a folder's pages that lead nowhere in it: to a page or a place that is not there, or out of the folder. */
const brokenLinks = (folder) => {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = files.map(({ name, parentPath }) => relative(folder, join(parentPath, name)))
  const known = new Set(paths)
  const pages = new Map(
    paths.filter((path) => path.endsWith(".html")).map((path) => [path, readFileSync(join(folder, path), "utf8")])
  )
  const ids = new Map(Array.from(pages, ([path, html]) => [path, idsOf(html)]))
  return Array.from(pages).flatMap(([path, html]) =>
    Array.from(html.matchAll(/<a\b[^>]*\shref="([^"]*)"/g), ([, link]) => link)
      .filter((link) => {
        if (/^\w+:/.test(link)) return false
        const [target, place = ""] = link.split("#").map(decodeURIComponent)
        const page = target === "" ? path : join(dirname(path), target)
        return !known.has(page) || (place !== "" && ids.get(page)?.has(place) === false)
      })
      .map((link) => `${path}: ${link}`)
  )
}

export const load = (app) => {
  // What is inherited from other packages has its source there, where no page is.
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const reflection of Object.values(project.reflections)) {
      if (reflection.sources === undefined) continue
      reflection.sources = reflection.sources.filter(({ fullFileName }) => fullFileName.startsWith(join(sources, sep)))
    }
  })
  app.renderer.on(
    RendererEvent.END,
    ({ outputDirectory }) => {
      for (const file of readdirSync(sources, { recursive: true })) {
        if (!file.endsWith(".ts")) continue
        const target = join(outputDirectory, "sources", `${file}.html`)
        mkdirSync(dirname(target), { recursive: true })
        writeFileSync(target, page(`src/${file}`, readFileSync(join(sources, file), "utf8")))
      }
      for (const broken of new Set(brokenLinks(outputDirectory))) app.logger.error(`A link leads nowhere: ${broken}`)
    },
    // After all others: everything has been written then.
    -1000
  )
}
