/**
 * What every broker's transport is made of.
 *
 * @since 0.2.0
 */
export { decodeBy, decodeText, encodeText } from "./message.ts"
export { attempting, attemptingSync, detailOf, failAs, inTime, refused, unavailable } from "./failing.ts"
export { batchesOf } from "./batches.ts"
export { type Attributes, type Binary, decodeBinary, encodeBinary, isStructured } from "./cloudEvents.ts"
export { type InFlight, makeDelivery, makeInFlight } from "./inFlight.ts"
export { closed, makeMembers, type Members, untilClosed } from "./lifetime.ts"
