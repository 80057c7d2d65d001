// Puts the sources into the reference, a page for each module with a place for each line, so that its links need no host.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { RendererEvent } from "typedoc"

const root = fileURLToPath(new URL("..", import.meta.url))

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const page = (title, text) => {
  const lines = text.split("\n").map((line, index) => `<span id="L${index + 1}">${escaped(line)}</span>`)
  const style = ":root { color-scheme: light dark } :target { background: light-dark(#ffec99, #5c4b00) }"
  return `<!doctype html><meta charset="utf-8"><title>${title}</title><style>${style}</style><pre>${lines.join("\n")}</pre>`
}

export const load = (app) => {
  app.renderer.on(RendererEvent.END, ({ outputDirectory }) => {
    for (const file of readdirSync(join(root, "src"), { recursive: true })) {
      if (!file.endsWith(".ts")) continue
      const target = join(outputDirectory, "sources", "src", `${file}.html`)
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, page(`src/${file}`, readFileSync(join(root, "src", file), "utf8")))
    }
  })
}
