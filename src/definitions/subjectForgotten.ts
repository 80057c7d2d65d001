import * as Schema from "effect/Schema"
import * as Event from "./Event.ts"

/**
 * The event that says that a subject is forgotten. It is published, so that other services follow, and whoever keeps copies handles it as any
 * other: a projection deletes its rows, a process ends.
 *
 * @category events
 * @since 0.2.0
 */
export const SubjectForgotten = Event.make(
  "SubjectForgotten",
  {
    /** The id of the subject. */
    subject: Schema.String,
    /** Which of its keys is gone: 1, and more where it was let in anew. */
    generation: Schema.Int
  },
  { published: true }
)
