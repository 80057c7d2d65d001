import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { toBase64 } from "./bytes.ts"
import { gone, idLength, Keys, keyOf, secretLength, type Standing } from "./subjectKeys.ts"

interface Row {
  readonly generation: number
  closed: boolean
  standing: Standing
}

/**
 * Keys in memory, gone with the Layer: for tests. What is forgotten is so at once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerMemory: Layer.Layer<Keys, never, Mac.Mac | SecureRandom.SecureRandom> = Layer.effect(
  Keys,
  Effect.gen(function* () {
    const mac = yield* Mac.Mac
    const random = yield* SecureRandom.SecureRandom
    /** The newest of each subject is the last. */
    const bySubject = new Map<string, Array<Row>>()
    const byId = new Map<string, Row>()

    const rowsOf = (subject: string): Array<Row> => {
      const rows = bySubject.get(subject) ?? []
      bySubject.set(subject, rows)
      return rows
    }
    const make = Effect.gen(function* () {
      const id = toBase64(yield* random.randomBytes(idLength))
      return yield* keyOf(mac, id, yield* random.randomBytes(secretLength))
    }).pipe(Effect.orDie)

    const add = (subject: string, generation: number) =>
      Effect.map(make, (key) => {
        const rows = rowsOf(subject)
        // Somebody else may have been faster.
        if ((rows.at(-1)?.generation ?? 0) >= generation) return
        const row: Row = { generation, closed: false, standing: key }
        rows.push(row)
        byId.set(key.id, row)
      })

    return Keys.of({
      bound: Duration.zero,
      sealing: Effect.fnUntraced(function* (subjects) {
        const found = new Map<string, Standing>()
        for (const subject of subjects) {
          if (rowsOf(subject).length === 0) yield* add(subject, 1)
          const row = rowsOf(subject).at(-1) as Row
          found.set(subject, row.closed ? gone : row.standing)
        }
        return found
      }),
      opening: (ids) =>
        Effect.sync(() => {
          const found = new Map<string, Standing>()
          for (const id of ids) {
            const row = byId.get(id)
            if (row !== undefined) found.set(id, row.standing)
          }
          return found
        }),
      close: (subject, generation) =>
        Effect.sync(() => {
          const rows = rowsOf(subject)
          const upTo = generation ?? rows.at(-1)?.generation ?? 1
          if ((rows.at(-1)?.generation ?? 0) < upTo) rows.push({ generation: upTo, closed: true, standing: gone })
          for (const row of rows) if (row.generation <= upTo) row.closed = true
          return upTo
        }),
      destroy: (subject, generation) =>
        Effect.sync(() => {
          for (const row of rowsOf(subject)) {
            if (row.generation <= generation) Object.assign(row, { closed: true, standing: gone })
          }
        }),
      readmit: (subject) =>
        Effect.suspend(() => {
          const newest = rowsOf(subject).at(-1)
          return newest?.closed === true ? add(subject, newest.generation + 1) : Effect.void
        })
    })
  })
)
