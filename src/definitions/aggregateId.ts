import * as Result from "effect/Result"
import { AggregateIdError, type Any, type Id } from "./Aggregate.ts"
import { nameFault, streamName } from "./names.ts"

/** The id of an aggregate as the name of its stream bears it, and that name; if it is one. */
export const placeOf = <A extends Any>(
  aggregate: A,
  id: Id<A>
): Result.Result<{ readonly id: string; readonly stream: string }, AggregateIdError> => {
  const refuse = (problem: string) => Result.fail(new AggregateIdError({ aggregate: aggregate.name, problem }))
  const encoded = aggregate.encodeId(id)
  if (Result.isFailure(encoded)) return refuse(`${JSON.stringify(id)} does not fit its schema: ${encoded.failure.message}`)
  const stream = streamName(aggregate.name, encoded.success)
  const fault = nameFault(stream)
  return fault === undefined ? Result.succeed({ id: encoded.success, stream }) : refuse(`the name of its stream ${fault}`)
}
