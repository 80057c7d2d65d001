/**
 * What every broker's transport is made of.
 *
 * @since 0.2.0
 */
export { messageOf } from "./leaving.ts"
export { extensionFault, storedOf } from "./message.ts"
export { broughtBy, markedNames } from "./tracing.ts"
export { attempting, attemptingSync, detailOf, failAs, inTime, refused, unavailable } from "./failing.ts"
export { batchesOf } from "./batches.ts"
export {
  type Attributes,
  type Binary,
  decodeBinary,
  decodeText,
  documentOf,
  encodeBinary,
  encodeText,
  formatFault,
  isStructured,
  keyOf,
  messageFault,
  wrap
} from "./cloudEvents.ts"
export { finding } from "./finding.ts"
export { deliveriesOf } from "./handingOut.ts"
export { type InFlight, makeDelivery, makeInFlight } from "./inFlight.ts"
export { onceLeft } from "./left.ts"
export { closed, makeMembers, type Members, untilClosed } from "./lifetime.ts"
export { reveal, type Secret, secretsIn, withoutSecrets } from "./secrets.ts"
