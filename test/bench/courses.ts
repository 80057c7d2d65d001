/**
 * What the cases of decisions are about: courses of ten events each, in a log in which every event bears a busy tag besides. Each
 * operation appends one event with one tag.
 *
 * - *plain*: without a condition.
 * - *disjoint*: unless there is an event with a tag of the caller's own that is newer than the newest that it knows.
 * - *overlap*: the same, and every tenth append is for one of 16 tags that all callers share; one that is refused counts as answered.
 * - *port*: reads the events of a course, folds them, and appends unless one has come since.
 * - *whole*: the same by what the store has for decisions.
 */
import { type Effect } from "effect"
import { type Deed } from "./contest.ts"

export type Kind = "plain" | "disjoint" | "overlap" | "port" | "whole"

const coursesIn = (events: number) => events / 10

/** The types that conditions and reads name. */
export const types = ["CourseDefined", "Subscribed"]

export const busyTag = "school:1"

/** The nth event of a log. */
export const logged = (events: number, nth: number) => {
  const course = `${nth % coursesIn(events)}`
  const type = nth < coursesIn(events) ? "CourseDefined" : "Subscribed"
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
}

/** What the kinds of work come to. */
export const deedsOf = (
  { append, conditional, decide, decideByPort }: Courses,
  { callers, events }: { readonly events: number; readonly callers: number }
): Readonly<Record<Kind, Deed>> => ({
  plain: (caller) => append(`own-${caller}`),
  disjoint: (caller) => conditional(`own-${caller}`),
  overlap: (caller, nth) =>
    conditional((caller + nth) % 10 === 0 ? `shared-${(caller + Math.floor(nth / 10)) % 16}` : `own-${caller}`),
  port: (caller, nth) => decideByPort(`${(nth * callers + caller) % coursesIn(events)}`),
  whole: (caller, nth) => decide(`${(nth * callers + caller) % coursesIn(events)}`)
})
