/** Finding one event by its id. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { badNames } from "./samples.ts"
import { event, every } from "./words.ts"

export const find = [
  every("finds an event by its id, as a read would give it", function* (store) {
    yield* store.append(
      "A-1",
      range(1, 300).map((n) => event({ id: `id-${n}`, payload: { n } }))
    )
    yield* store.append("B-1", [event({ id: "other", tags: ["t:1"], metadata: { by: "ada" }, published: true })])
    const first = Option.getOrThrow(yield* store.find("id-120"))
    assert.deepEqual([first.stream, first.version, first.position, first.payload], ["A-1", 120, 120, { n: 120 }])
    const other = Option.getOrThrow(yield* store.find("other"))
    assert.deepEqual(
      [other.stream, other.version, other.position, other.tags, other.metadata["by"], other.published],
      ["B-1", 1, 301, ["t:1"], "ada", true]
    )
  }),

  every("finds nothing by an id that no event has, and by what cannot be one", function* (store) {
    yield* store.append("A-1", [event({ id: "1" })])
    for (const id of ["2", "A-1", "1 ", "1' or '1' = '1", ...badNames.map(([, name]) => name)]) {
      assert.deepEqual(yield* store.find(id), Option.none(), `the id ${JSON.stringify(id)}`)
    }
  })
]
