/** How messages are published: those that come at once go as one statement. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { isSqlError } from "effect/sql/SqlError"
import { makeGroupCommit, type Submitted, takeUpTo } from "../../internal/groupCommit.ts"
import { textFault } from "../../internal/json.ts"
import { isOutage, isUnstorable } from "../../sql/errors.ts"
import { closed, encodeText, keyOf, refused, unavailable } from "../../transport/kit.ts"
import type { Message, Transport, TransportError } from "../../transport/Transport.ts"
import { describe } from "../errors.ts"
import { flushWithCommit } from "../../sql/transaction.ts"
import { encodeOthers, encodePublished, type Published } from "../sql/publish.ts"
import { failAs, maxBatchBytes, type Shared } from "./shared.ts"

interface Request {
  readonly bytes: number
  readonly messages: ReadonlyArray<Published>
}

const toPublished = (message: Message, maxMessageBytes: number): Result.Result<Published, TransportError> => {
  const { id, source, tenant, type } = message
  return Result.flatMap(
    Result.mapError(encodeText(message), (why) => refused(id, why)),
    (body) => {
      const bytes = Buffer.byteLength(body)
      if (bytes > maxMessageBytes) {
        return Result.fail(refused(id, `it has ${bytes} bytes, and ${maxMessageBytes} are allowed`))
      }
      const fault = textFault(id) ?? textFault(type) ?? textFault(source)
      return fault === undefined
        ? Result.succeed({ id, source, tenant, key: keyOf(message), type, body })
        : Result.fail(refused(id, `its id, type or source ${fault}`))
    }
  )
}

const toRequest = (all: ReadonlyArray<Message>, maxMessageBytes: number): Result.Result<Request, TransportError> => {
  const messages: Array<Published> = []
  let bytes = 0
  for (const message of all) {
    const published = toPublished(message, maxMessageBytes)
    if (Result.isFailure(published)) return Result.fail(published.failure)
    bytes += published.success.body.length
    messages.push(published.success)
  }
  return Result.succeed({ bytes, messages })
}

/** In a transaction of its caller nobody can be woken before the commit, and `origin` is left open. */
type Write = (messages: ReadonlyArray<Published>, origin: string) => Effect.Effect<void, TransportError>

const makeWrite = ({ ask, members: { wakeAll }, statements }: Shared): Write => {
  const add = (messages: ReadonlyArray<Published>, origin: string) =>
    Effect.flatMap(ask(statements.publish, encodePublished(messages, origin)), ({ added, hasHead }) =>
      hasHead && added < messages.length ? ask(statements.publishOthers, encodeOthers(messages, origin)) : Effect.succeed(hasHead)
    )
  const write: Write = (messages, origin) =>
    Effect.matchEffect(add(messages, origin), {
      onSuccess: (found) => (found ? wakeAll : Effect.fail(unavailable("publish", "the row of transport_head is missing"))),
      onFailure: (error) => {
        if (!isUnstorable(error)) return Effect.fail(failAs("publish")(error))
        // Of what is refused together, the culprit is found one by one.
        return messages.length > 1
          ? Effect.andThen(
              Effect.forEach(messages, (message) => write([message], origin), { discard: true }),
              wakeAll
            )
          : Effect.fail(refused((messages[0] as Published).id, describe(error), error))
      }
    })
  return write
}

const writeBatch = (write: Write, self: string) => (batch: ReadonlyArray<Submitted<Request, void, TransportError>>) =>
  Effect.flatMap(
    Effect.exit(
      write(
        batch.flatMap(({ request }) => request.messages),
        self
      )
    ),
    (exit) =>
      Exit.isFailure(exit) && batch.length > 1 && !isOutage(Cause.squash(exit.cause))
        ? // What one publisher has done is nothing to the others.
          Effect.forEach(batch, ({ answer, request }) => Effect.map(Effect.exit(write(request.messages, self)), answer), {
            discard: true
          })
        : Effect.sync(() => {
            for (const { answer } of batch) answer(exit)
          })
  )

export const makePublish = Effect.fnUntraced(function* (
  shared: Shared,
  maxMessageBytes: number
): Effect.fn.Return<Transport["Service"]["publish"], never, Scope.Scope> {
  const write = makeWrite(shared)
  const publisher = yield* makeGroupCommit<Request, void, TransportError>({
    capacity: 1024,
    maxBatch: 512,
    take: takeUpTo(maxBatchBytes),
    write: writeBatch(write, shared.self),
    closed: () => closed("publish")
  })
  // Also of what waits behind others.
  const submit = (request: Request): Effect.Effect<void, TransportError> =>
    Effect.mapError(shared.answering.inTime(publisher.submit(Effect.succeed(request))), (error) =>
      isSqlError(error) ? failAs("publish")(error) : error
    )
  return (messages) =>
    Effect.suspend(() => {
      const request = toRequest(messages, maxMessageBytes)
      if (Result.isFailure(request)) return Effect.fail(request.failure)
      // Who is handed a message does not ask whether it is on the disk.
      const here = Effect.andThen(flushWithCommit(shared.sql), write(request.success.messages, ""))
      return shared.joining(here, submit(request.success))
    })
})
