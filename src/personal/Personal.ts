/**
 * Personal data that can be forgotten.
 *
 * A field of an event says that it is personal, and whose it is ({@link field}). {@link layer} goes around any event store and seals such
 * fields with a key of the subject's own, that `Keys` has; {@link forget} destroys the key. The log stays as it is, and whoever reads it gets
 * {@link Forgotten} in place of what was there. Where copies live, and what becomes of them, is told in `src/guides/personal-data.md`.
 *
 * @since 0.2.0
 */
export { blind, type BlindFields } from "../definitions/blind.ts"
export {
  type AnySchema,
  type Envelope,
  type Field,
  field,
  Forgotten,
  forgotten,
  getOrElse,
  input,
  isForgotten,
  ofStream,
  open,
  Withheld,
  withheld
} from "../definitions/personalField.ts"
export { SubjectForgotten } from "../definitions/subjectForgotten.ts"
export { layerDeadLetters, layerSnapshots, layerTransport } from "./besides.ts"
export { layerCrypto } from "./crypto.ts"
export { forget, layerEraser } from "./forgetting.ts"
export { layer, layerSealed, make, type Requirements } from "./layers.ts"
export { layerPseudonyms, pseudonym, PseudonymKeyError, Pseudonyms } from "./pseudonyms.ts"
