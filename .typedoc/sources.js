// Puts the sources into the reference, a page for each module with a place for each line, so that its links need no host.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { Converter, RendererEvent } from "typedoc"

const sources = fileURLToPath(new URL("../src", import.meta.url))

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const page = (title, text) => {
  const lines = text.split("\n").map((line, index) => `<span id="L${index + 1}">${escaped(line)}</span>`)
  const style = ":root { color-scheme: light dark } :target { background: light-dark(#ffec99, #5c4b00) }"
  return `<!doctype html><meta charset="utf-8"><title>${title}</title><style>${style}</style><pre>${lines.join("\n")}</pre>`
}

export const load = (app) => {
  // What is inherited from other packages has its source there, where no page is.
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const reflection of Object.values(project.reflections)) {
      if (reflection.sources === undefined) continue
      reflection.sources = reflection.sources.filter(({ fullFileName }) => fullFileName.startsWith(join(sources, sep)))
    }
  })
  app.renderer.on(RendererEvent.END, ({ outputDirectory }) => {
    for (const file of readdirSync(sources, { recursive: true })) {
      if (!file.endsWith(".ts")) continue
      const target = join(outputDirectory, "sources", `${file}.html`)
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, page(`src/${file}`, readFileSync(join(sources, file), "utf8")))
    }
  })
}
