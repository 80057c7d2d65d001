/** The service: a handler that decides, a listener that keeps the club's own table. Both commit together, or not at all. */
import { Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, MessageBus, Repository } from "eventfold"
import { BookAlreadyRegistered, BookRegistered, Isbn, RegisterBook } from "./messages.ts"

const Book = Aggregate.make("Book", {
  id: Isbn,
  events: [BookRegistered],
  initial: { title: "" },
  evolve: { BookRegistered: (_, { title }) => ({ title }) }
})

const RegisterBookLive = MessageBus.handle(RegisterBook, (book) =>
  Effect.asVoid(
    Repository.execute(Book, book.isbn, ({ title }) =>
      title === ""
        ? Effect.succeed([BookRegistered.make(book)])
        : Effect.fail(new BookAlreadyRegistered({ isbn: book.isbn, title }))
    )
  )
)

/** In the transaction of the events: the shelf never differs from them. */
const Shelf = MessageBus.listen(BookRegistered, ({ author, isbn, title }) =>
  SqlClient.SqlClient.use((sql) => sql`insert into book (isbn, title, author) values (${isbn}, ${title}, ${author})`).pipe(
    Effect.orDie
  )
)

export const createShelf = SqlClient.SqlClient.use(
  (sql) => sql`create table if not exists book (isbn text primary key, title text not null, author text not null)`
)

const Row = Schema.Struct({ isbn: Isbn, title: Schema.String, author: Schema.String })

export const booksBy = (author: string) =>
  SqlClient.SqlClient.use((sql) => sql`select isbn, title, author from book where author = ${author} order by title`).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(Schema.Array(Row)))
  )

export const layer = Layer.merge(RegisterBookLive, Shelf)
