/** Checkpoints as 0.1.0 wrote them, with what it kept in them of the versions of projections; and what stands in the registry for it. */
import assert from "node:assert/strict"
import { DateTime, Effect, Option } from "effect"
import { Checkpoints } from "eventfold"

export interface OldRow {
  readonly name: string
  readonly position: number
  readonly epoch: number
  readonly owner: string | null
}

/** Milliseconds: when the leases of the old rows end, and when they were last written. */
export const old = { expiresAt: Date.UTC(2090, 0, 1), updatedAt: Date.UTC(2026, 0, 31, 12) }

/** What is no version of a projection stays as it is. */
const others: ReadonlyArray<OldRow> = [
  { name: "relay:shop", position: 29, epoch: 2, owner: "another process" },
  { name: "deadlines:Payment", position: 32, epoch: 1, owner: null },
  { name: "subscription:notices", position: 29, epoch: 7, owner: "another process" },
  { name: "subscription:projection:Balances@1", position: 58, epoch: 4, owner: "another process" },
  { name: "subscription:projection:Balances@2", position: 0, epoch: 1, owner: null },
  // A program's own, which only looks like one of 0.1.0's.
  { name: "projection:", position: 3, epoch: 1, owner: "1" },
  { name: "projection:mine", position: 4, epoch: 1, owner: "somebody" },
  { name: "projection:mine@home", position: 5, epoch: 1, owner: "somebody" },
  { name: "Projection:Balances", position: 6, epoch: 1, owner: "1" }
]

export const rows: ReadonlyArray<OldRow> = [
  ...others,
  { name: "projection:Balances", position: 0, epoch: 3, owner: "1" },
  { name: "projection:Balances@1", position: 58, epoch: 1, owner: null },
  { name: "projection:Balances@2", position: 40, epoch: 2, owner: "57" },
  { name: "projection:Balances@10", position: 7, epoch: 2, owner: "dropped" },
  { name: "projection:Never told", position: 0, epoch: 1, owner: "12" },
  { name: "projection:Orders", position: 0, epoch: 1, owner: "2" },
  { name: "projection:Orders@2", position: 9, epoch: 1, owner: "inline" },
  { name: `projection:it's: "ü" 😀`, position: 0, epoch: 1, owner: "3" },
  { name: `projection:it's: "ü" 😀@3`, position: 0, epoch: 1, owner: "0" },
  { name: "projection:Back again", position: 0, epoch: 1, owner: "1" },
  { name: "projection:Back again@1", position: 2, epoch: 1, owner: "dropped" },
  { name: "projection:No active one@4", position: 2 ** 53 - 1, epoch: 1, owner: String(2 ** 53 - 1) }
]

const expected = [
  ["Back again", 1, "async", true, undefined, 2],
  ["Balances", 1, "async", true, undefined, 58],
  ["Balances", 2, "async", false, 57, 40],
  ["Balances", 10, "dropped", false, undefined, 7],
  ["Never told", 12, "async", true, undefined, 0],
  ["No active one", 4, "async", false, 2 ** 53 - 1, 2 ** 53 - 1],
  ["Orders", 2, "inline", true, undefined, 9],
  [`it's: "ü" 😀`, 3, "async", true, undefined, 0]
].map(([projection, version, mode, active, target, heard]) => ({ projection, version, mode, active, target, heard, revision: 1 }))

/** What is known, for comparison. */
const readAll = Effect.gen(function* () {
  const { list, versions } = yield* Checkpoints.Checkpoints
  return {
    checkpoints: (yield* list).map(({ epoch, name, owner, position }) => ({
      name,
      position,
      epoch,
      owner: Option.getOrNull(owner)
    })),
    versions: (yield* versions.list()).map(({ target, updatedAt, ...rest }) => ({
      ...rest,
      target: Option.getOrUndefined(target),
      updatedAt: DateTime.toEpochMillis(updatedAt)
    }))
  }
})

/** Asserts that all that 0.1.0 wrote is there, where it belongs. */
export const assertConverted = ({
  fences
}: {
  /** Whether those that ran projections are fenced: where a program of 0.1.0 could still run. */
  readonly fences: boolean
}): Effect.Effect<void, Checkpoints.CheckpointError, Checkpoints.Checkpoints> =>
  Effect.map(readAll, ({ checkpoints, versions }) => {
    const free = (row: OldRow) => (fences && row.name.startsWith("subscription:projection:") ? { ...row, owner: null } : row)
    const byName = (a: OldRow, b: OldRow) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
    assert.deepEqual(checkpoints, others.map(free).toSorted(byName))
    assert.deepEqual(
      versions,
      expected.map((version) => ({ ...version, updatedAt: old.updatedAt }))
    )
  })
