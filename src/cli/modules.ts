/** A module of the user: the Layer of a program, and the definitions that it exports. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Aggregate from "../definitions/Aggregate.ts"
import type * as Event from "../definitions/Event.ts"
import type * as ProcessManager from "../processManager/ProcessManager.ts"
import type { AnyProjection } from "../operate/Operate.ts"
import { type CliFailure, usage } from "./failure.ts"
import { load, orUnreachable, type Services } from "./stores.ts"

/** What a module exports that the command line knows what to do with. */
export interface Module {
  /** The Layer of the program, as it is exported. */
  readonly layer: Effect.Effect<Layer.Layer<Services, CliFailure>, CliFailure>
  readonly events: ReadonlyArray<Event.Any>
  readonly aggregates: ReadonlyArray<Aggregate.Any>
  readonly processes: ReadonlyArray<ProcessManager.Any>
  readonly projections: ReadonlyArray<AnyProjection>
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  (typeof value === "object" && value !== null) || typeof value === "function"

const hasMark = (value: unknown, mark: string): value is Readonly<Record<string, unknown>> => isObject(value) && mark in value

/** Those that bear a mark, which only definitions of one kind do. */
const marked = <Definition>(all: ReadonlyArray<unknown>, mark: string): ReadonlyArray<Definition> =>
  all.filter((value): value is Definition => hasMark(value, mark))

/** Everything that the exports name: themselves, what lists and namespaces among them hold, and the events of aggregates and processes. */
const everythingIn = (exports: Readonly<Record<string, unknown>>): ReadonlySet<unknown> => {
  const found = new Set<unknown>()
  const add = (value: unknown, depth: number): void => {
    if (!isObject(value) || found.has(value) || Layer.isLayer(value) || Effect.isEffect(value)) return
    const isDefinition = ["~eventfold/Event", "~eventfold/Aggregate", "~eventfold/ProcessManager"].some((mark) => mark in value)
    const isProjection = "handleEvent" in value && "subscription" in value && "tables" in value
    if (isProjection) return void found.add(value)
    const isPlain =
      Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null
    if (!isDefinition && (!isPlain || depth > 2)) return
    found.add(value)
    const inner = isDefinition ? [value["events"], value["deadlines"]] : Object.values(value)
    for (const item of inner) add(item, depth + 1)
  }
  for (const value of Object.values(exports)) add(value, 0)
  return found
}

const layerOf = (exports: Readonly<Record<string, unknown>>, path: string) =>
  Effect.gen(function* () {
    const named = ["default", "layer", "Live"].map((name) => exports[name]).find((value) => Layer.isLayer(value))
    const layer = named ?? Object.values(exports).find((value) => Layer.isLayer(value))
    return Layer.isLayer(layer)
      ? orUnreachable(layer as Layer.Layer<Services, unknown>)
      : yield* usage(`${path} exports no Layer: export that of the program, as "default" or as "layer".`)
  })

/** Loads a module. Nothing of its Layer is built. */
export const loadModule = Effect.fnUntraced(function* (url: string) {
  const path = decodeURIComponent(new URL(url).pathname)
  const exports = (yield* load(path, undefined, () => import(url))) as Readonly<Record<string, unknown>>
  const found = Array.from(everythingIn(exports))
  const module: Module = {
    layer: layerOf(exports, path),
    events: marked<Event.Any>(found, "~eventfold/Event"),
    aggregates: marked<Aggregate.Any>(found, "~eventfold/Aggregate"),
    projections: marked<AnyProjection>(found, "handleEvent"),
    processes: marked<ProcessManager.Any>(found, "~eventfold/ProcessManager")
  }
  return module
})
