/**
 * What stands beside the handlers of the listed types and has no place there: it does not compile, and the compiler's message ends
 * with the sentence.
 */
export type Unlisted<Handlers, Listed> = {
  readonly [Type in Exclude<keyof Handlers, Listed>]: `there is no "${Type & string}" among the events that are listed`
}
