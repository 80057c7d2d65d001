import { Schema } from "effect"
import { Aggregate, Decision, Event, Tag } from "eventfold"
const t = Tag.make("t")
const X = Event.make("X", { a: Schema.String }, { tags: (e) => [t(e.a)] })
Aggregate.make("A", { events: [X], state: Schema.Literals(["a", "b"]), initial: "a", evolve: { X: () => "b" } })
Decision.make("A", { tags: { t }, events: [X], state: Schema.Literals(["a", "b"]), initial: "a", evolve: { X: () => "b" } })
