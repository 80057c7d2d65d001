// Loaded before a runner of another build: what it imports as "eventfold" is that build's, and all else is here.
import { registerHooks } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const folder = process.env["EVENTFOLD_BENCH_BUILD"]
if (folder === undefined) throw new Error("EVENTFOLD_BENCH_BUILD does not say which build")
const parentURL = pathToFileURL(join(folder, "package.json")).href

registerHooks({
  resolve: (specifier, context, next) => next(specifier, /^eventfold($|\/)/.test(specifier) ? { ...context, parentURL } : context)
})
