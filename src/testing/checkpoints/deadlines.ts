/** The deadlines that are set, where they are kept: with the checkpoint, and never without it. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import type { DeadlineChange, KeptDeadline, KeptDeadlines } from "../../store/Checkpoints.ts"
import { every, fenced, known, long, refusal, reopened, type Service, shared } from "./words.ts"

const name = "deadlines:Payment"

const tableOf = ({ deadlines }: Service): KeptDeadlines => {
  assert.ok(deadlines !== undefined, "deadlines are kept")
  return deadlines
}

const all = (checkpoints: Service, checkpoint = name) =>
  tableOf(checkpoints).due(checkpoint, { upTo: 8.64e15, after: { due: -8.64e15, position: 0 }, limit: 1000 })

const deadline = (stream: string, type: string, due: number, position: number): KeptDeadline => ({
  stream,
  type,
  due,
  position,
  id: `${stream} ${type} ${position}`
})

const set = (set: KeptDeadline, ...names: ReadonlyArray<string>): DeadlineChange => ({
  stream: set.stream,
  types: [set.type, ...names],
  onlyIds: undefined,
  set
})

const drop = (stream: string, type: string, onlyIds?: ReadonlyArray<string>): DeadlineChange => ({
  stream,
  types: [type],
  onlyIds,
  set: undefined
})

const claim = (checkpoints: Service, owner = "a") => checkpoints.claim(name, { owner, ttl: long })

const [one, other, third] = [
  deadline("Payment-1", "Due", 2000, 1),
  deadline("Payment-é😀", "Due", 1000, 2),
  deadline("Payment-1", "Gone", -5, 3)
] as const

export const deadlines = [
  every(
    "deadlines that are kept come in the order of their times, page by page, up to a time, for each checkpoint its own",
    function* (checkpoints) {
      const { advance, due } = tableOf(checkpoints)
      const same = deadline("Payment-2", "Due", 2000, 5)
      yield* advance(
        yield* claim(checkpoints),
        5,
        { position: 5, id: "e" },
        [one, other, third, same].map((one) => set(one))
      )
      const elsewhere = yield* checkpoints.claim("deadlines:Other", { owner: "a", ttl: long })
      yield* advance(elsewhere, 9, undefined, [set(deadline("Payment-1", "Due", 7, 9))])
      assert.deepEqual(yield* all(checkpoints), [third, other, one, same])
      assert.deepEqual(yield* due(name, { upTo: 2000, after: third, limit: 2 }), [other, one])
      assert.deepEqual(yield* due(name, { upTo: 2000, after: one, limit: 2 }), [same])
      assert.deepEqual(yield* due(name, { upTo: 1999, after: { due: -8.64e15, position: 0 }, limit: 9 }), [third, other])
      assert.deepEqual(yield* due("deadlines:None", { upTo: 8.64e15, after: third, limit: 9 }), [])
    },
    "deadlines"
  ),

  every(
    "one of a type stands in a stream at a time: under whichever of its names, and one that has come drops itself alone",
    function* (checkpoints) {
      const { advance } = tableOf(checkpoints)
      let lease = yield* advance(
        yield* claim(checkpoints),
        3,
        undefined,
        [one, other, third].map((one) => set(one))
      )
      const anew = deadline("Payment-1", "Overdue", 3000, 4)
      lease = yield* advance(lease, 4, undefined, [set(anew, "Due")])
      assert.deepEqual(yield* all(checkpoints), [third, other, anew])
      lease = yield* advance(lease, 5, undefined, [
        drop("Payment-1", "Overdue", [one.id, "another"]),
        drop(other.stream, "Due", ["another", other.id]),
        drop("Payment-9", "Due")
      ])
      assert.deepEqual(yield* all(checkpoints), [third, anew])
      lease = yield* advance(lease, 6, undefined, [drop("Payment-1", "Gone")])
      assert.deepEqual(yield* all(checkpoints), [anew])
      yield* advance(lease, 6, undefined, [])
      assert.deepEqual(yield* all(checkpoints), [anew])
    },
    "deadlines"
  ),

  every(
    "a lease says whether all deadlines are kept that stand at its position: not after a move without them, a reset or a removal",
    function* (checkpoints) {
      const { advance } = tableOf(checkpoints)
      const first = yield* claim(checkpoints)
      assert.equal("deadlines" in first, false)
      const seen = { position: 2, id: "seen" }
      const kept = yield* advance(first, 3, seen, [set(one)])
      assert.deepEqual(kept, { ...first, position: 3, seen, deadlines: true })
      assert.deepEqual((yield* known(checkpoints, name)).seen, seen)
      const again = yield* claim(checkpoints)
      assert.deepEqual([again.deadlines, again.seen], [true, seen])
      // Without anything that was seen, too.
      yield* advance(again, 4, undefined, [])
      const unseen = yield* claim(checkpoints)
      assert.deepEqual([unseen.deadlines, "seen" in unseen, "seen" in (yield* known(checkpoints, name))], [true, false, false])
      yield* checkpoints.advance(unseen, 5, seen)
      assert.equal("deadlines" in (yield* claim(checkpoints)), false)
      for (const ends of [checkpoints.reset(name, 5), checkpoints.remove(name, { force: true })]) {
        yield* advance(yield* claim(checkpoints), 5, seen, [set(one)])
        assert.deepEqual(yield* all(checkpoints), [one])
        yield* ends
        assert.deepEqual(yield* all(checkpoints), [])
        assert.equal("deadlines" in (yield* claim(checkpoints)), false)
      }
    },
    "deadlines"
  ),

  every(
    "to begin anew moves the checkpoint to 0 and drops what is kept, of this checkpoint alone",
    function* (checkpoints) {
      const { advance, restart } = tableOf(checkpoints)
      const elsewhere = yield* checkpoints.claim("deadlines:Other", { owner: "a", ttl: long })
      yield* advance(elsewhere, 9, undefined, [set(one)])
      const lease = yield* advance(yield* claim(checkpoints), 3, { position: 3, id: "3" }, [set(one), set(other)])
      const anew = yield* restart(lease)
      assert.deepEqual([anew.position, "deadlines" in anew, yield* all(checkpoints)], [0, false, []])
      assert.deepEqual(yield* all(checkpoints, "deadlines:Other"), [one])
      assert.equal((yield* advance(anew, 1, undefined, [set(other)])).position, 1)
    },
    "deadlines"
  ),

  every(
    "who is fenced changes nothing of what is kept, nor does one that moves from another position",
    function* (checkpoints) {
      const { advance, restart } = tableOf(checkpoints)
      const before = yield* claim(checkpoints)
      const lease = yield* advance(before, 3, undefined, [set(one)])
      assert.deepEqual(yield* refusal(advance(before, 4, undefined, [set(other), drop("Payment-1", "Due")])), fenced(before))
      const again = yield* claim(checkpoints)
      assert.deepEqual(yield* refusal(advance(lease, 4, undefined, [set(other)])), fenced(lease))
      assert.deepEqual(yield* refusal(restart(lease)), fenced(lease))
      assert.deepEqual([again.position, yield* all(checkpoints)], [3, [one]])
    },
    "deadlines"
  ),

  every(
    "many are kept at once, and dropped at once",
    function* (checkpoints) {
      const { advance } = tableOf(checkpoints)
      const many = Array.from({ length: 2500 }, (_, n) => deadline(`Payment-${n}`, "Due", n, n + 1))
      const lease = yield* advance(
        yield* claim(checkpoints),
        2500,
        undefined,
        many.map((one) => set(one))
      )
      assert.deepEqual(yield* all(checkpoints), many.slice(0, 1000))
      yield* advance(
        lease,
        2501,
        undefined,
        many.slice(0, 2400).map(({ stream, type }) => drop(stream, type))
      )
      assert.deepEqual(yield* all(checkpoints), many.slice(2400))
    },
    "deadlines"
  ),

  shared(
    "of two who move from one position one keeps what it says",
    function* ([first, second]) {
      const lease = yield* claim(first)
      const moves = yield* Effect.forEach(
        [advanceOf(first, lease, one), advanceOf(second, lease, other)],
        (move) => Effect.option(move),
        { concurrency: "unbounded" }
      )
      const [won] = moves.flatMap(Option.toArray)
      assert.equal(moves.filter(Option.isSome).length, 1)
      assert.deepEqual([yield* all(first), yield* all(second)], [[won], [won]])
    },
    "deadlines"
  ),

  reopened(
    "deadlines that are kept are there after closing and opening again",
    function* (open) {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const checkpoints = yield* open
          const lease = yield* claim(checkpoints)
          yield* checkpoints.release(yield* tableOf(checkpoints).advance(lease, 3, undefined, [set(one), set(other)]))
        })
      )
      const checkpoints = yield* open
      assert.equal((yield* claim(checkpoints, "b")).deadlines, true)
      assert.deepEqual(yield* all(checkpoints), [other, one])
    },
    "deadlines"
  )
]

const advanceOf = (checkpoints: Service, lease: Parameters<KeptDeadlines["advance"]>[0], deadline: KeptDeadline) =>
  Effect.as(tableOf(checkpoints).advance(lease, 4, undefined, [set(deadline)]), deadline)
