/**
 * What the cases of decisions are about: courses, in a log in which every event bears a busy tag besides. The first half of the log are courses
 * of one event each, the second half courses of ten. Each operation appends one event with one tag. The log is so long that nobody comes around in a run:
 * who is faster would decide on more events than who is slow.
 *
 * - *plain*: without a condition.
 * - *disjoint*: unless there is an event with a tag of the caller's own that is newer than the newest that it knows.
 * - *overlap*: the same, and every tenth append is for one of 16 tags that all callers share; one that is refused counts as answered.
 * - *port*: reads the one event of a course, folds it, and appends unless one has come since.
 * - *whole*: the same by what the store has for decisions.
 * - *ten*: *whole* on a course of ten events.
 * - *cached*: *ten* where what was folded is kept in memory.
 * - *optimistic*: *whole* where each caller decides on one course again and again, and what is kept in memory is not asked for first.
 */
import { type Effect } from "effect"
import { type Deed } from "./contest.ts"

export type Kind = "plain" | "disjoint" | "overlap" | "port" | "whole" | "ten" | "cached" | "optimistic"

/** How many courses of one event a log has, and how many of ten. */
const coursesIn = (events: number) => ({ one: events / 2, ten: events / 20 })

/** The types that conditions and reads name. */
export const types = ["CourseDefined", "Subscribed"]

export const busyTag = "school:1"

/** The nth event of a log. */
export const logged = (events: number, nth: number) => {
  const { one, ten } = coursesIn(events)
  const course = nth < one ? `one-${nth}` : `ten-${(nth - one) % ten}`
  const type = nth < one + ten ? "CourseDefined" : "Subscribed"
  return { type, course, tags: [`course:${course}`, busyTag], data: { course, capacity: 1_000_000, student: `student-${nth}` } }
}

/** The event that is appended. */
export const subscribed = (course: string) => ({
  type: "Subscribed",
  tags: [`course:${course}`],
  data: { course, capacity: 0, student: "ada.lovelace@example.com" }
})

interface State {
  readonly capacity: number
  readonly taken: number
}

export const initial: State = { capacity: 0, taken: 0 }

/** What is decided on: whether there is room. */
export const evolve = {
  CourseDefined: (state: State, { capacity }: { readonly capacity: number }): State => ({ ...state, capacity }),
  Subscribed: (state: State): State => ({ ...state, taken: state.taken + 1 })
}

export const isFree = ({ capacity, taken }: State): boolean => taken < capacity

/** What a store does with a course; it answers whether an event was appended. */
export interface Courses {
  readonly append: (course: string) => Effect.Effect<boolean, unknown>
  readonly conditional: (course: string) => Effect.Effect<boolean, unknown>
  readonly decideByPort: (course: string) => Effect.Effect<boolean, unknown>
  readonly decide: (course: string) => Effect.Effect<boolean, unknown>
  readonly decideCached: (course: string) => Effect.Effect<boolean, unknown>
  readonly decideOptimistic: (course: string) => Effect.Effect<boolean, unknown>
}

/** What the kinds of work come to. */
export const deedsOf = (
  { append, conditional, decide, decideByPort, decideCached, decideOptimistic }: Courses,
  { callers, events }: { readonly events: number; readonly callers: number }
): Readonly<Record<Kind, Deed>> => {
  const { one, ten } = coursesIn(events)
  const courseOf = (caller: number, nth: number) => `one-${(nth * callers + caller) % one}`
  const courseOfTen = (caller: number, nth: number) => `ten-${(nth * callers + caller) % ten}`
  return {
    plain: (caller) => append(`own-${caller}`),
    disjoint: (caller) => conditional(`own-${caller}`),
    overlap: (caller, nth) =>
      conditional((caller + nth) % 10 === 0 ? `shared-${(caller + Math.floor(nth / 10)) % 16}` : `own-${caller}`),
    port: (caller, nth) => decideByPort(courseOf(caller, nth)),
    whole: (caller, nth) => decide(courseOf(caller, nth)),
    ten: (caller, nth) => decide(courseOfTen(caller, nth)),
    cached: (caller, nth) => decideCached(courseOfTen(caller, nth)),
    optimistic: (caller) => decideOptimistic(`one-${caller}`)
  }
}
