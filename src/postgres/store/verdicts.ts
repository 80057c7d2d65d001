/** What the database decided of each append of a batch. */
import * as Result from "effect/Result"
import { AppendConditionError, type AppendResult, DuplicateEventError, OptimisticLockError } from "../../store/EventStore.ts"
import type { PreparedAppend, PreparedCondition } from "../../store/kit/index.ts"
import { type Appended, status } from "../sql/append.ts"
import type { Attempt } from "../sql/conditions.ts"

/** No verdict: the append has to look through the log first, without the lock. */
export class Wide {
  readonly attempt: Attempt
  constructor(attempt: Attempt) {
    this.attempt = attempt
  }
}

export type Verdict = Result.Result<
  ReadonlyArray<AppendResult> | Wide,
  OptimisticLockError | DuplicateEventError | AppendConditionError
>

/** A verdict for each request of a batch, and the position of the newest event after it. */
export interface Verdicts {
  readonly verdicts: ReadonlyArray<Verdict>
  readonly head: number
}

/** Where a request begins in the batch: how many parts and events come before it. */
interface Place {
  readonly part: number
  readonly event: number
}

const refusalOf = (
  { appends, unless }: PreparedAppend,
  { conditions, details, statuses, versions }: Appended,
  index: number,
  before: Place
): OptimisticLockError | DuplicateEventError | AppendConditionError | undefined => {
  const detail = details[index] as number
  switch (statuses[index]) {
    case status.conflict: {
      const { expected, stream } = appends[detail - 1 - before.part] as PreparedAppend["appends"][number]
      return new OptimisticLockError({ stream, expected, actual: versions[detail - 1] as number })
    }
    case status.duplicate: {
      const ids = appends.flatMap(({ events, stream }) => events.map(({ id }) => ({ stream, id })))
      return new DuplicateEventError(ids[detail - 1 - before.event] as { stream: string; id: string })
    }
    case status.condition:
      return new AppendConditionError({
        position: detail,
        condition: unless[(conditions[index] as number) - 1] as PreparedCondition
      })
    default:
      return undefined
  }
}

export const toVerdicts = (requests: ReadonlyArray<Attempt>, appended: Appended): Verdicts => {
  const { head, positions, statuses, versions } = appended
  const verdicts: Array<Verdict> = []
  let [part, event] = [0, 0]
  for (let index = 0; index < requests.length; index++) {
    const request = requests[index] as Attempt
    const refusal = refusalOf(request, appended, index, { part, event })
    const deduplicated = statuses[index] === status.deduplicated
    const first = part
    if (refusal !== undefined) verdicts.push(Result.fail(refusal))
    else if (statuses[index] === status.wide) verdicts.push(Result.succeed(new Wide(request)))
    else {
      verdicts.push(
        Result.succeed(
          request.appends.map(({ events, stream }, nth) => ({
            stream,
            version: versions[first + nth] as number,
            position: positions[first + nth] as number,
            deduplicated: deduplicated && events.length > 0
          }))
        )
      )
    }
    part += request.appends.length
    event += request.count
  }
  return { verdicts, head }
}
