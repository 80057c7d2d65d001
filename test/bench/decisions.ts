import { Context, Effect, Layer, Schema } from "effect"
import { Event, EventStore, UnitOfWork } from "eventfold"
import { boundary, Decision, Tag } from "./adapter.ts"
import { callersText, type Contest, contest, type Contestant } from "./contest.ts"
import { busyTag, deedsOf, evolve, initial, isFree, type Kind, logged, subscribed, types } from "./courses.ts"
import { type Case, collectGarbage, during, type Run, type Span } from "./harness.ts"
import { databaseCopy, serverStore } from "./lab.ts"
import { dcb } from "./peers/dcb.ts"

const address = (url: string) => ({ url, schema: "eventfold" })

const pageSize = 1000

const part = (course: string, { data, tags, type }: ReturnType<typeof subscribed>) => ({
  stream: `Course-${course}`,
  events: [{ type, payload: data, tags }]
})

/** The store, and units of work on it. */
const build = (url: string) => Layer.build(UnitOfWork.layer.pipe(Layer.provideMerge(serverStore(address(url)))))

/** The store by its port. */
const connect = (url: string) => Effect.map(build(url), (services) => Context.get(services, EventStore.EventStore))

/** The decision as a program makes it, in a unit of work; absent on a build that has none. */
const typed = () => {
  if (Decision === undefined || Tag === undefined) return undefined
  const { execute } = Decision
  const course = Tag.make("course")
  const fields = { course: Schema.String, capacity: Schema.Int, student: Schema.String }
  const options = { tags: (event: { readonly course: string }) => [course(event.course)] }
  const Subscribed = Event.make("Subscribed", fields, options)
  const events = [Event.make("CourseDefined", fields, options), Subscribed]
  const Seats = Decision.make("Seats", { tags: { course }, events, initial, evolve })
  return (id: string) =>
    UnitOfWork.transact(
      execute(Seats({ course: id }), `Course-${id}`, (state) => (isFree(state) ? [Subscribed.make(subscribed(id).data)] : []))
    )
}

const fill = (url: string, events: number) =>
  Effect.gen(function* () {
    const store = yield* connect(url)
    for (let first = 0; first < events; first += pageSize) {
      yield* store.appendAll(
        Array.from({ length: Math.min(pageSize, events - first) }, (_, index) => {
          const event = logged(events, first + index)
          return part(event.course, event)
        })
      )
    }
  })

const ours: Contestant<Kind> = {
  name: "eventfold",
  fill,
  open: (url, setting) =>
    Effect.gen(function* () {
      const execute = typed()
      const services = yield* build(url)
      const store = Context.get(services, EventStore.EventStore)
      /** The newest positions that this process knows. */
      const known = new Map<string, number>()
      const append = (course: string, unless?: EventStore.AppendCondition) =>
        store.appendAll([part(course, subscribed(course))], { unless }).pipe(
          Effect.map(([result]) => {
            known.set(course, result?.position ?? 0)
            return true
          }),
          Effect.catchTag("AppendConditionError", () => Effect.succeed(false))
        )
      const decide = (course: string, context: typeof services) =>
        execute === undefined
          ? Effect.fail(new Error("this build has no Decision"))
          : execute(course).pipe(
              Effect.map(({ events }) => events.length > 0),
              Effect.catchTag("AppendConditionError", () => Effect.succeed(false)),
              Effect.provideContext(context)
            )
      const cached = Context.merge(services, Decision === undefined ? Context.empty() : yield* Layer.build(Decision.layerCache))
      const optimistic = Context.merge(
        services,
        Decision === undefined ? Context.empty() : yield* Layer.build(Decision.layerCacheWith({ optimistic: true }))
      )
      const filterOf = (course: string) => ({ types, tags: [`course:${course}`] })
      const courses = {
        append: (course: string) => append(course),
        conditional: (course: string) => append(course, { filter: filterOf(course), after: known.get(course) ?? setting.events }),
        decideByPort: (course: string) =>
          Effect.flatMap(boundary(store, filterOf(course)), ({ events, position }) => {
            const state = events.reduce(
              (state, { payload, type }) =>
                evolve[type as keyof typeof evolve](state, payload as unknown as { readonly capacity: number }),
              initial
            )
            return isFree(state) ? append(course, { filter: filterOf(course), after: position }) : Effect.succeed(false)
          }),
        decide: (course: string) => decide(course, services),
        decideCached: (course: string) => decide(course, cached),
        decideOptimistic: (course: string) => decide(course, optimistic)
      }
      return { deeds: deedsOf(courses, setting), count: store.head }
    })
}

// -----------------------------------------------------------------------------
// beside a busy condition
// -----------------------------------------------------------------------------

/** Who appends beside the writers, one event after the other: nobody, or a client of the same or of another process. */
interface Beside {
  readonly where: "alone" | "the same" | "another"
  /** Whether it does so on a condition for which its whole busy tag is looked through. */
  readonly conditional: boolean
}

/** Writers of other things, and what they are beside. */
const besideBusy =
  ({ conditional, where }: Beside, writers: number, events: number, span: Span): Run =>
  (lab) =>
    Effect.gen(function* () {
      const url = yield* databaseCopy(lab.address.url, `eventfold_${events}`, (url) => fill(url, events))
      const store = yield* connect(url)
      const others = where === "another" ? yield* connect(url) : store
      let standing = events
      let over = false
      const unless = { filter: { types: ["CourseClosed"], tags: [busyTag] }, after: 0 }
      const busy = others
        .appendAll([part("busy", subscribed("busy"))], conditional ? { unless } : {})
        .pipe(Effect.map(() => standing++))
      yield* collectGarbage
      const [measured] = yield* Effect.all(
        [
          during(writers, span, (caller) =>
            Effect.map(store.appendAll([part(`own-${caller}`, subscribed(`own-${caller}`))]), () => standing++)
          ).pipe(Effect.ensuring(Effect.sync(() => (over = true)))),
          where === "alone" ? Effect.void : Effect.whileLoop({ while: () => !over, body: () => busy, step: () => {} })
        ],
        { concurrency: "unbounded" }
      )
      const head = yield* store.head
      if (head !== standing) return yield* Effect.fail(new Error(`${standing} events were acknowledged, and the head is ${head}`))
      return { ...measured, events: standing }
    })

// -----------------------------------------------------------------------------
// all
// -----------------------------------------------------------------------------

const kinds: Readonly<Record<Kind, string>> = {
  plain: "append with a tag",
  disjoint: "append on a condition, disjoint tags",
  overlap: "append on a condition, 10 % overlap",
  port: "whole decision by the port",
  whole: "whole decision",
  ten: "whole decision on ten events",
  cached: "whole decision on ten events, with layerCache",
  optimistic: "whole decision on one's own course, with an optimistic layerCache"
}

/** Appends; all others are decisions. */
const appends: ReadonlyArray<Kind> = ["plain", "disjoint", "overlap"]

/** A peer has one way to decide. */
const withoutPeer: ReadonlyArray<Kind> = ["port", "cached", "optimistic"]

/** The cases; `scale` shortens runs and logs. */
export const decisionCases = (scale: number): ReadonlyArray<Case> => {
  const span = { warmUp: 300 * scale, millis: 700 * scale }
  const on = (work: Omit<Contest<Kind>, "span">) => ({
    place: "databases" as const,
    ours: contest(ours, { ...work, events: work.events * scale, span }),
    ...(withoutPeer.includes(work.kind)
      ? {}
      : { peers: { "dcb-es": contest(dcb, { ...work, events: work.events * scale, span }) } })
  })
  const nameOf = (kind: Kind, callers: number) => `decisions: ${kinds[kind]}, ${callersText(callers)}`
  const byCallers = (kind: Kind, callers: number): Case => ({
    ...on({ kind, callers, events: 100_000 }),
    name: nameOf(kind, callers),
    unit: appends.includes(kind) ? "appends" : "decisions",
    group: "decisions",
    ...(kind === "plain" ? {} : { base: nameOf("plain", callers) }),
    ...(withoutPeer.includes(kind) ? {} : { chart: { title: `Decisions: ${kinds[kind]}, by callers`, x: ["callers", callers] } })
  })
  const byLength = (kind: Kind, events: number): Case => ({
    ...on({ kind, callers: 1, events }),
    name: `lengths: ${kinds[kind]}, 1 caller, on a log of ${events.toLocaleString("en").replaceAll(",", " ")}`,
    unit: "latency",
    group: "lengths",
    chart: { title: `Decisions: ${kinds[kind]}, by the length of the log`, x: ["events in the log", events] }
  })
  const alone = "decisions: 16 writers alone, on a log of 400 000"
  const writers = (name: string, beside: Beside): Case => ({
    name,
    place: "databases",
    unit: "appends",
    ours: besideBusy(beside, 16, 400_000 * scale, { ...span, millis: 3 * span.millis }),
    group: "decisions: writers",
    ...(beside.where === "alone" ? {} : { base: alone })
  })
  return [
    ...[1, 16, 256].flatMap((callers) => (Object.keys(kinds) as ReadonlyArray<Kind>).map((kind) => byCallers(kind, callers))),
    writers(alone, { where: "alone", conditional: false }),
    // What it costs the writers that somebody else appends at all, each time with a commit of its own.
    writers("decisions: 16 writers beside a plain append of another process, on a log of 400 000", {
      where: "another",
      conditional: false
    }),
    writers("decisions: 16 writers beside a busy condition of another process, on a log of 400 000", {
      where: "another",
      conditional: true
    }),
    writers("decisions: 16 writers beside a busy condition of the same process, on a log of 400 000", {
      where: "the same",
      conditional: true
    }),
    ...[1000, 10_000, 100_000].flatMap((events) => (["plain", "whole"] as const).map((kind) => byLength(kind, events)))
  ]
}
