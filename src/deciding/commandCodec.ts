import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { type Any, CommandDecodeError } from "../definitions/Command.ts"
import { hasSecret } from "../definitions/secrets.ts"
import { pathText } from "../internal/json.ts"
import { InvalidAppendError } from "../store/EventStore.ts"

type Coding<Out> = (value: unknown) => Result.Result<Out, SchemaIssue.Issue>

interface CommandCodec {
  /** Whether there is a `Schema.Redacted` in its payload. */
  readonly hasSecret: boolean
  readonly make: (payload: unknown) => Effect.Effect<unknown, CommandDecodeError>
  readonly encode: (payload: unknown) => Result.Result<Schema.Json, InvalidAppendError>
  /** What its handler answers, as JSON. What does not fit the success schema is a defect. */
  readonly answer: (value: unknown) => Effect.Effect<Schema.Json>
  /** What its handler answers, as JSON and back. */
  readonly success: { readonly encode: Coding<Schema.Json>; readonly decode: Coding<unknown> }
  /** What its handler fails with, as JSON and back. */
  readonly failure: CommandCodec["success"]
}

export const formatText = SchemaIssue.makeFormatterDefault()
const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

const commandCodecs = new WeakMap<object, CommandCodec>()

const codingOf = (schema: Schema.Top): CommandCodec["success"] => {
  const codec = Schema.toCodecJson(schema as Schema.Codec<unknown, unknown>)
  const encode = SchemaParser.encodeUnknownResult(codec)
  return {
    encode: (value) => Result.map(encode(value), (json) => json ?? null),
    decode: SchemaParser.decodeUnknownResult(codec)
  }
}

/** Built once per command definition. */
export const commandCodec = (command: Any): CommandCodec => {
  const known = commandCodecs.get(command)
  if (known !== undefined) return known
  const payload = codingOf(command.payloadSchema)
  const refuse = (issue: SchemaIssue.Issue) => {
    const [first] = formatIssue(issue).issues
    return new CommandDecodeError({
      command: command._tag,
      path: pathText(first?.path ?? []),
      problem: first?.message ?? "it does not fit"
    })
  }
  // A payload that its handler may well have, and that is not to be written, such as a secret.
  const unstorable = (issue: SchemaIssue.Issue) =>
    new InvalidAppendError({
      stream: "$bus",
      field: `${command._tag}.payload`,
      problem: `cannot be stored: ${formatText(issue)}`
    })
  const success = codingOf(command.successSchema)
  const unfit = (cause: SchemaIssue.Issue) =>
    Effect.die(
      new TypeError(`What the handler of "${command._tag}" gave does not fit its success schema: ${formatText(cause)}`, { cause })
    )
  const codec: CommandCodec = {
    hasSecret: hasSecret(command.payloadSchema),
    make: (value) => Effect.mapError((command.payloadSchema as Schema.Codec<unknown, unknown>).makeEffect(value), refuse),
    encode: (value) => Result.mapError(payload.encode(value), unstorable),
    answer: (value) => {
      const encoded = success.encode(value)
      return Result.isSuccess(encoded) ? Effect.succeed(encoded.success) : unfit(encoded.failure)
    },
    success,
    failure: codingOf(command.errorSchema)
  }
  commandCodecs.set(command, codec)
  return codec
}
