/** What the reading club's service says and hears. */
import { Schema } from "effect"
import { Command, Event } from "eventfold"

export const Isbn = Schema.NonEmptyString.pipe(Schema.brand("Isbn"))

/** Other services hear of it: it is flagged as published, and so has to be kept compatible. */
export const BookRegistered = Event.make(
  "BookRegistered",
  { isbn: Isbn, title: Schema.String, author: Schema.String },
  { published: true }
)

export class BookAlreadyRegistered extends Schema.TaggedError<BookAlreadyRegistered>()("BookAlreadyRegistered", {
  isbn: Isbn,
  title: Schema.String
}) {}

/** Commands stay inside: the bus keeps them in the local store, and the transport never sees them. */
export const RegisterBook = Command.make("RegisterBook", {
  payload: { isbn: Isbn, title: Schema.NonEmptyString, author: Schema.NonEmptyString },
  error: BookAlreadyRegistered
})
