/**
 * What the requests for an aggregate came to, as its events tell: in the metadata of the last one that a request has written.
 *
 * A request bears the time at which it was made, and its events come after that. So all that may have been written for a request is found among the events since
 * then, however many those are.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { inLog, requestIds } from "../deciding/Answers.ts"
import type { Reply } from "../deciding/MessageBus.ts"
import { type CommitError, Transaction } from "../deciding/UnitOfWork.ts"
import type * as Command from "../definitions/Command.ts"
import { CommandElsewhereError } from "../definitions/Command.ts"
import { requestKey } from "../definitions/metadata.ts"
import { storedFault } from "../definitions/personal.ts"
import { hasSecret } from "../definitions/secrets.ts"
import type { EventStore, EventStoreError } from "../store/EventStore.ts"

/** What a request came to. Without a value the log has it, as the answer to an execution of its own. */
export interface Answer {
  readonly outcome: "success" | "failure"
  readonly value: Schema.Json | undefined
}

/** What requests came to, and when: all of them that have been written for since a time, and some from before. */
export interface Answers {
  since: number
  /** Until when nothing is forgotten. */
  until: number
  readonly byRequest: Map<string, Answer & { readonly at: number }>
}

/** So far may the clocks of callers and runners be apart, in milliseconds. */
export const skew = 5000
/** So long is kept in memory what requests came to: a request is rarely older when it arrives. */
const kept = 2 * skew
/** So many are looked at and kept, whatever the clocks say. */
const least = 512

const Noted = Schema.Struct({
  id: Schema.String,
  outcome: Schema.Literals(["success", "failure"]),
  value: Schema.optionalKey(Schema.Json)
})
const decodeNoted = Schema.decodeUnknownOption(Noted)

/** What stands in the events of a stream up to a version: of all requests that were written for since a time. */
export const answersSince = (
  store: EventStore["Service"],
  stream: string,
  version: number,
  since: number
): Effect.Effect<Answers, EventStoreError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (version === 0) return Effect.succeed({ since, until: now + kept, byRequest: new Map() })
    let count = 0
    const events = store
      .read(stream, { to: version, direction: "backward" })
      .pipe(Stream.takeUntil(({ recordedAt }) => ++count >= least && DateTime.toEpochMillis(recordedAt) < since))
    return Effect.map(Stream.runCollect(events), (newestFirst) => {
      const byRequest = new Map<string, Answer & { readonly at: number }>()
      for (const { metadata, recordedAt } of newestFirst.toReversed()) {
        const noted = Option.getOrUndefined(decodeNoted(metadata[requestKey]))
        if (noted === undefined) continue
        const { id, outcome, value } = noted
        byRequest.set(id, { outcome, value, at: DateTime.toEpochMillis(recordedAt) })
      }
      return { since, until: now + kept, byRequest }
    })
  })

/** Drops now and then what is older than any request that has just come. */
export const forgetOld = (answers: Answers, since: number, now: number): void => {
  if (now < answers.until) return
  answers.until = now + kept
  const before = Math.min(since, now - kept)
  for (const [request, { at }] of answers.byRequest) {
    if (answers.byRequest.size <= least || at >= before) break
    answers.byRequest.delete(request)
    answers.since = Math.max(answers.since, at + 1)
  }
}

/** So long is the text of a value that stands beside each event; what is longer, or personal, stands by itself. */
const short = 4096

/** By which the log knows a request that is an execution of its own. */
export const idOfRequest = (request: string): string => `${requestIds}${request}`

/**
 * Notes in the last event that this unit of work has staged for a stream what the request came to. A value that is large, or has personal data in it, which
 * are sealed in payloads alone, is kept as an answer of the bus, and one with a `Schema.Redacted` nowhere. `undefined` where there is no event.
 */
export const note = (
  store: EventStore["Service"],
  stream: string,
  request: string,
  command: Command.Any,
  value: Schema.Json
): Effect.Effect<Answer | undefined, CommitError, Transaction> =>
  Transaction.use((transaction) => {
    const isSecret = hasSecret(command.successSchema)
    const isApart = !isSecret && (JSON.stringify(value).length > short || storedFault(value) !== undefined)
    const isBeside = !isSecret && !isApart
    const outcome = "success"
    if (!transaction.amend(stream, { [requestKey]: { id: request, outcome, ...(isBeside && { value }) } }))
      return Effect.succeed(undefined)
    const noted = { outcome, value: isBeside ? value : undefined } as const
    return isApart
      ? Effect.as(inLog(store).keep({ command: command._tag, id: idOfRequest(request), payload: "", outcome, value }), noted)
      : Effect.succeed(noted)
  })

/** What the repetition of a request is answered with. */
export const answerAgain = (
  store: EventStore["Service"],
  request: string,
  command: string,
  { outcome, value }: Answer
): Effect.Effect<Pick<Reply, "outcome" | "value">, CommitError> =>
  value !== undefined
    ? Effect.succeed({ outcome, value })
    : Effect.flatMap(
        inLog(store).find(command, idOfRequest(request)),
        Option.match({
          onSome: ({ outcome, value }) => Effect.succeed({ outcome, value }),
          onNone: () => {
            const detail = "it has taken effect before, and what it came to is not kept any more"
            return Effect.fail(new CommandElsewhereError({ command, reason: "unanswered", detail }))
          }
        })
      )
