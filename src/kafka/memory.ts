/**
 * What this process knows of a group and Kafka does not keep: how often what is not done with has been handed out, and what is done with
 * beyond the offset that is committed. It outlives the consumer, and not the Layer.
 */

export interface Memory {
  /** Of which topic it is: one that is made anew begins anew. */
  readonly of: (topicId: string) => void
  readonly forget: () => void
  /** How often a message has been handed out. */
  readonly attempts: (partition: number, offset: number) => number
  /** It has been handed out so often, and is not done with. */
  readonly tried: (partition: number, offset: number, attempt: number) => void
  readonly isDone: (partition: number, offset: number) => boolean
  /** It is done with. `isFirst` when everything before it is, too. */
  readonly done: (partition: number, offset: number, isFirst: boolean) => void
  /** Everything of a partition before this offset is done with, and said to be. */
  readonly committed: (partition: number, offset: number) => void
}

/** The most messages that are remembered with their attempts. */
const most = 10_000

const keyOf = (partition: number, offset: number): string => `${partition}/${offset}`

export const makeMemory = (): Memory => {
  let topic: string | undefined
  const attempts = new Map<string, number>()
  const done = new Map<number, Set<number>>()
  const forget = () => {
    attempts.clear()
    done.clear()
  }
  return {
    of: (topicId) => {
      if (topic !== undefined && topic !== topicId) forget()
      topic = topicId
    },
    forget,
    attempts: (partition, offset) => (attempts.size === 0 ? 0 : (attempts.get(keyOf(partition, offset)) ?? 0)),
    tried: (partition, offset, attempt) => {
      if (attempt > 0) attempts.set(keyOf(partition, offset), attempt)
      for (const key of attempts.keys()) {
        if (attempts.size <= most) return
        attempts.delete(key)
      }
    },
    isDone: (partition, offset) => done.get(partition)?.has(offset) === true,
    done: (partition, offset, isFirst) => {
      if (attempts.size > 0) attempts.delete(keyOf(partition, offset))
      if (isFirst) return
      const offsets = done.get(partition) ?? new Set()
      done.set(partition, offsets.add(offset))
    },
    committed: (partition, offset) => {
      const offsets = done.get(partition)
      if (offsets === undefined) return
      for (const one of offsets) if (one < offset) offsets.delete(one)
      if (offsets.size === 0) done.delete(partition)
    }
  }
}
