import * as Schema from "effect/Schema"

/**
 * The store, or what stands beside it, could not answer: the message says which, and why. What was asked for may be asked again.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnavailableError extends Schema.TaggedError<UnavailableError>("eventfold/Operations/UnavailableError")(
  "UnavailableError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * There is no such stream, event, follower, projection or letter, or not any more.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotFoundError extends Schema.TaggedError<NotFoundError>("eventfold/Operations/NotFoundError")("NotFoundError", {
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/**
 * It takes a definition, or a service, that the process which answers does not have: the message says which, and where it is registered.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotRegisteredError extends Schema.TaggedError<NotRegisteredError>("eventfold/Operations/NotRegisteredError")(
  "NotRegisteredError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * The request makes no sense: a cursor of something else, a limit below 1, a window that ends before it begins.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidRequestError extends Schema.TaggedError<InvalidRequestError>("eventfold/Operations/InvalidRequestError")(
  "InvalidRequestError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * Nobody is known by that token, or none was given.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnauthorizedError extends Schema.TaggedError<UnauthorizedError>("eventfold/Operations/UnauthorizedError")(
  "UnauthorizedError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * The operator is known and may not act: acts are not allowed here, or not to this operator. Nothing was done.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotAllowedError extends Schema.TaggedError<NotAllowedError>("eventfold/Operations/NotAllowedError")(
  "NotAllowedError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * The act was taken and refused: the message is what whoever runs the follower says of it. What was refused is recorded.
 *
 * @category errors
 * @since 0.2.0
 */
export class RefusedError extends Schema.TaggedError<RefusedError>("eventfold/Operations/RefusedError")("RefusedError", {
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/**
 * No process took the act in the time that it was given: nobody runs what it is about. It will not be done later.
 *
 * @category errors
 * @since 0.2.0
 */
export class NobodyTookError extends Schema.TaggedError<NobodyTookError>("eventfold/Operations/NobodyTookError")(
  "NobodyTookError",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}
