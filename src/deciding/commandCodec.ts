import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import type * as Command from "../definitions/Command.ts"
import { InvalidAppendError } from "../store/EventStore.ts"

interface CommandCodec {
  readonly make: (payload: unknown) => Effect.Effect<unknown, InvalidAppendError>
  readonly encode: (payload: unknown) => Result.Result<Schema.Json, InvalidAppendError>
}

const formatIssue = SchemaIssue.makeFormatterDefault()

const commandCodecs = new WeakMap<object, CommandCodec>()

/** Built once per command definition. */
export const commandCodec = (command: Command.Any): CommandCodec => {
  const known = commandCodecs.get(command)
  if (known !== undefined) return known
  const schema = command.payloadSchema as Schema.Codec<unknown, unknown>
  const encode = SchemaParser.encodeUnknownResult(Schema.toCodecJson(schema))
  const refuse = (issue: SchemaIssue.Issue) =>
    new InvalidAppendError({
      stream: "$bus",
      field: `${command._tag}.payload`,
      problem: `does not fit its schema: ${formatIssue(issue)}`
    })
  const codec: CommandCodec = {
    make: (payload) => Effect.mapError(schema.makeEffect(payload), refuse),
    encode: (payload) =>
      Result.mapError(
        Result.map(encode(payload), (json) => json ?? null),
        refuse
      )
  }
  commandCodecs.set(command, codec)
  return codec
}
