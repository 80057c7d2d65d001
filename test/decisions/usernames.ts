/** A user name is claimed once in the whole store, whatever its case; it is free again when the account is closed or renamed. */
import { Schema, SchemaTransformation } from "effect"
import { Decision, Event, Tag } from "eventfold"

export const Name = Schema.NonEmptyString.pipe(Schema.brand("UserName"))
/** The tag says what counts as the same: lower case, without blanks around it. */
const Folded = Schema.String.pipe(
  Schema.decodeTo(Name, SchemaTransformation.transform({ decode: (text) => text, encode: (name) => name.trim().toLowerCase() }))
)
const username = Tag.make("username", Folded)

export const Registered = Event.make("AccountRegistered", { name: Name }, { tags: ({ name }) => [username(name)] })
const Closed = Event.make("AccountClosed", { name: Name }, { tags: ({ name }) => [username(name)] })
const Renamed = Event.make(
  "UsernameChanged",
  { from: Name, to: Name },
  { tags: ({ from, to }) => [username(from), username(to)] }
)

const claimed = (name: typeof Name.Type) => {
  const same = (other: typeof Name.Type) => username(other) === username(name)
  return Decision.make("Claimed", {
    tags: { username },
    events: [Registered, Closed, Renamed],
    initial: false,
    evolve: {
      AccountRegistered: () => true,
      AccountClosed: () => false,
      UsernameChanged: (_, { to }) => same(to)
    }
  })({ username: name })
}

export class Taken extends Schema.TaggedError<Taken>()("Taken", { name: Schema.String }) {}

export const register = (account: string, name: typeof Name.Type) =>
  Decision.execute(claimed(name), `Account-${account}`, (claimed) => (claimed ? new Taken({ name }) : Registered.make({ name })))

export const rename = (account: string, from: typeof Name.Type, to: typeof Name.Type) =>
  Decision.execute(Decision.all([claimed(from), claimed(to)]), `Account-${account}`, ([mine, taken]) =>
    !mine || taken ? new Taken({ name: to }) : Renamed.make({ from, to })
  )

export const close = (account: string, name: typeof Name.Type) =>
  Decision.execute(claimed(name), `Account-${account}`, () => Closed.make({ name }))
