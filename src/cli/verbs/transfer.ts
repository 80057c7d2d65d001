/** `copy`, `export`, `import`: all of a store, to another place. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { copy as copyEvents, EventStore, isTombstone, type StreamAppend } from "../../store/EventStore.ts"
import { lineOf, refused, unreachable, usage, maskedTarget } from "../failure.ts"
import { inTime, wholeFlag } from "../globals.ts"
import { cloudLine, type Entry, entryOf, recordedLine } from "../lines.ts"
import { loadModule } from "../modules.ts"
import { print, progress, show } from "../output/write.ts"
import { plural } from "../output/text.ts"
import { type Mode, storeLayer } from "../stores.ts"
import { parseTarget, type TargetParam } from "../target.ts"

/** The store that a URL names, or that a module's Layer provides, for as long as the scope lasts. */
const openStore = Effect.fnUntraced(function* (url: string, mode: Mode) {
  const target = yield* parseTarget(url)
  const name = maskedTarget(url)
  if (target.kind === "http") return yield* usage(`${name} is a running program: this takes the store itself.`)
  const layer =
    target.kind === "module" ? yield* (yield* inTime(name, loadModule(target.url))).layer : yield* storeLayer(target, mode)
  const context = yield* inTime(name, Layer.build(layer))
  const store = Context.getOption(context, EventStore)
  return store._tag === "Some" ? store.value : yield* usage(`The Layer that ${name} exports provides no EventStore.`)
})

const Copied = Schema.Struct({ events: Schema.Int, copied: Schema.Int, digest: Schema.String })

export const copy = Command.make("copy", { from: Argument.String("from"), to: Argument.String("to") }, ({ from, to }) =>
  Effect.gen(function* () {
    const source = yield* openStore(from, "look")
    const target = yield* openStore(to, "make")
    const bar = yield* progress("copy")
    const copied = yield* copyEvents(source, target, {
      onProgress: ({ head, position }) => bar.step(position, head)
    }).pipe(Effect.ensuring(bar.clear))
    yield* show(Copied, copied, () =>
      Effect.succeed([
        `${plural(copied.copied, "event")} copied: both hold ${plural(copied.events, "event")}.`,
        `Digest ${copied.digest}.`
      ])
    )
  }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "Copies a store into one that is empty or holds its beginning: streams, versions, positions, ids and times stay; proved by digest"
  )
)

export const exportEvents = (url: TargetParam) =>
  Command.make(
    "export",
    {
      url,
      cloudevents: Flag.Boolean("cloudevents").pipe(
        Flag.withDescription("As CloudEvents 1.0 in structured mode, one a line"),
        Flag.withDefault(false)
      ),
      source: Flag.String("source").pipe(
        Flag.withDescription('The attribute "source" of the CloudEvents (default: eventfold)'),
        Flag.withDefault("eventfold")
      ),
      after: wholeFlag("after").pipe(Flag.withDescription("Only events after this position"), Flag.withDefault(0))
    },
    ({ after, cloudevents, source, url }) =>
      Effect.gen(function* () {
        const store = yield* openStore(url, "look")
        const bar = yield* progress("export")
        const head = yield* store.head
        yield* store.readAll({ after }).pipe(
          Stream.runForEachArray((events) =>
            Effect.gen(function* () {
              const lines = yield* Effect.forEach(events, (event) =>
                cloudevents
                  ? Effect.mapError(Effect.fromResult(cloudLine(event, source)), (fault) =>
                      refused(`Position ${event.position} cannot be a CloudEvent: ${fault}.`)
                    )
                  : Effect.succeed(recordedLine(event))
              )
              yield* print(...lines)
              yield* bar.step(events.at(-1)?.position ?? head, head)
            })
          ),
          Effect.ensuring(bar.clear)
        )
      }).pipe(Effect.scoped)
  ).pipe(
    Command.withDescription("Writes all events to stdout, one JSON document a line: as they are recorded, or as CloudEvents")
  )

/** The appends of a batch: neighbours of one stream together, and what their lines say of versions as an expectation. */
const appendsOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<StreamAppend> => {
  const appends: Array<{ readonly stream: string; readonly events: Array<Entry["event"]>; readonly expected?: number }> = []
  for (const { event, stream, version } of entries) {
    const last = appends.at(-1)
    if (last?.stream === stream) last.events.push(event)
    else appends.push({ stream, events: [event], ...(version === undefined ? {} : { expected: version - 1 }) })
  }
  return appends
}

const Imported = Schema.Struct({ read: Schema.Int, head: Schema.Int })

const textOf = Effect.fnUntraced(function* (file: string) {
  if (file === "-") return (yield* Stdio.Stdio).stdin
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists(file))) return yield* unreachable(`There is no file ${file}.`)
  if ((yield* fs.stat(file)).type === "Directory") return yield* usage(`${file} is a folder.`)
  return fs.stream(file)
})

interface Read {
  readonly line: number
  readonly entry: Result.Result<Entry, string>
}

/** Appends a batch at once; where it is refused, one by one: what stands there already is passed over, and the line that is at fault is told. */
const importBatch = Effect.fnUntraced(function* (store: EventStore["Service"], batch: ReadonlyArray<Read>) {
  const bad = batch.findIndex(({ entry }) => Result.isFailure(entry))
  const good = (bad < 0 ? batch : batch.slice(0, bad)).flatMap(({ entry, line }) =>
    Result.isSuccess(entry) ? [{ entry: entry.success, line }] : []
  )
  const failed = (line: number, why: string) =>
    refused(`Line ${line} was not imported, and none after it; those before it stand in the store: ${lineOf(why)}`)
  // What stands for events that were removed is written as a copy writes it.
  const append = good.some(({ entry }) => isTombstone(entry.event))
    ? (store.maintenance?.copyAll ?? store.appendAll)
    : store.appendAll
  const oneByOne = Effect.forEach(
    good,
    ({ entry, line }) =>
      Effect.mapError(append(appendsOf([entry])), (error) =>
        error._tag === "EventStoreError" ? error : failed(line, error.message)
      ),
    { discard: true }
  )
  yield* Effect.catchIf(
    append(appendsOf(good.map(({ entry }) => entry))),
    (error) => error._tag !== "EventStoreError",
    () => oneByOne
  )
  const at = batch[bad]
  if (at !== undefined && Result.isFailure(at.entry)) return yield* failed(at.line, `${at.entry.failure}.`)
  return good.length
})

export const importEvents = (url: TargetParam) =>
  Command.make(
    "import",
    { url, file: Argument.String("file").pipe(Argument.withDescription('Lines of JSON; "-" is stdin')) },
    ({ file, url }) =>
      Effect.gen(function* () {
        const store = yield* openStore(url, "make")
        const text = yield* textOf(file)
        const counts = text.pipe(
          Stream.decodeText,
          Stream.splitLines,
          Stream.zipWithIndex,
          Stream.filter(([line]) => line.trim() !== ""),
          Stream.map(([line, index]): Read => ({ entry: entryOf(line), line: index + 1 })),
          Stream.grouped(500),
          Stream.mapEffect((batch) => importBatch(store, batch))
        )
        const read = yield* Stream.runFold(
          counts,
          () => 0,
          (sum, count) => sum + count
        )
        const head = yield* store.head
        yield* show(Imported, { read, head }, () =>
          Effect.succeed([`${plural(read, "event")} read; the store is at position ${head}.`])
        )
      }).pipe(Effect.scoped)
  ).pipe(
    Command.withDescription(
      "Appends events from lines of JSON, recorded ones or CloudEvents. What stands in the store already, by its id, is not written twice"
    )
  )
