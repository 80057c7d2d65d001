/** The hash chain: it covers what was appended, whoever appends, and passes what was removed. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import type * as EventStore from "../../store/EventStore.ts"
import { verifyStore } from "../../store/verify.ts"
import { range } from "../suite.ts"
import { variety } from "./samples.ts"
import { concurrently, event, every, life, numbered, refusal, reopened, shared, type Store } from "./words.ts"

const linksOf = (store: Store) => store.maintenance?.links(0, 10_000) ?? Effect.succeed([])

/** The links are one behind the other, and end with the newest event. */
const whole = Effect.fnUntraced(function* (store: Store) {
  const links = yield* linksOf(store)
  for (const [index, { after, position }] of links.entries()) {
    assert.equal(after, index === 0 ? after : links[index - 1]?.position)
    assert.ok(position > after)
  }
  assert.equal(links.at(-1)?.position, yield* store.head)
  const { chain } = yield* verifyStore(store)
  assert.deepEqual(chain, links.at(-1))
  return links
})

export const chain = [
  every(
    "all that is appended is chained, whatever it says",
    function* (store) {
      yield* store.appendAll(variety)
      yield* store.append("Numbers-1", numbered(30))
      yield* concurrently(range(1, 40), (n) => store.append(`Account-${n % 7}`, [event({ tags: [`n:${n}`], payload: { n } })]))
      yield* store.appendAll([
        { stream: "A-1", events: numbered(2) },
        { stream: "B-1", events: numbered(2) }
      ])
      yield* whole(store)
    },
    "chain"
  ),

  every(
    "removed events verify: their digests are there",
    function* (store) {
      yield* store.appendAll(variety)
      yield* store.append("Numbers-1", numbered(10))
      const links = yield* whole(store)
      const events = yield* Stream.runCollect(store.readAll())
      yield* store.maintenance?.tombstone(events, { reason: "over" }) ?? Effect.void
      assert.deepEqual(yield* linksOf(store), links)
      assert.equal((yield* verifyStore(store)).removed, events.length)
      yield* store.append("Numbers-1", numbered(3))
      yield* whole(store)
    },
    "chain"
  ),

  every(
    "any range is verified, to whole links",
    function* (store) {
      for (const n of range(1, 6)) yield* store.append(`Account-${n}`, numbered(3))
      const all = yield* verifyStore(store)
      for (const after of range(0, 18)) {
        for (const upTo of range(after, 18)) {
          const { chain, events } = yield* verifyStore(store, { after, upTo })
          assert.ok(events >= upTo - after, `${after} to ${upTo}`)
          if (upTo === 18) assert.deepEqual(chain, all.chain)
        }
      }
      const bad = (yield* refusal(verifyStore(store, { after: -1 }))) as EventStore.EventStoreError
      assert.deepEqual([bad._tag, bad.reason._tag], ["EventStoreError", "InvalidRead"])
    },
    "chain"
  ),

  every(
    "a head that was kept elsewhere must be one of the chain's",
    function* (store) {
      yield* store.append("Account-1", numbered(3))
      const kept = (yield* linksOf(store)).at(-1) as EventStore.ChainLink
      yield* store.append("Account-1", numbered(3))
      yield* verifyStore(store, { heads: [kept] })
      const other = { ...kept, digest: kept.digest.replaceAll(/./g, "0") }
      const error = (yield* refusal(verifyStore(store, { heads: [other] }))) as EventStore.IntegrityError
      assert.deepEqual([error._tag, error.findings[0]?.position], ["IntegrityError", 3])
      const beyond = (yield* refusal(verifyStore(store, { heads: [{ ...kept, position: 2 }] }))) as EventStore.IntegrityError
      assert.deepEqual([beyond._tag, beyond.findings[0]?.position], ["IntegrityError", 2])
    },
    "chain"
  ),

  reopened(
    "the chain goes on where it was",
    function* (open) {
      for (const n of range(1, 3)) {
        yield* life(
          open,
          Effect.fnUntraced(function* (store) {
            yield* store.append("Account-1", numbered(2, n))
            assert.equal((yield* whole(store)).length, n)
          })
        )
      }
    },
    "chain"
  ),

  shared(
    "all who append at once make one chain",
    function* ([one, other]) {
      yield* concurrently(range(1, 60), (n) =>
        (n % 2 === 0 ? one : other).append(`Account-${n % 5}`, [event({ payload: { n } })])
      )
      assert.deepEqual(yield* whole(one), yield* whole(other))
    },
    "chain"
  )
]
