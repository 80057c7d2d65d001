/**
 * What every broker's transport is made of.
 *
 * @since 0.2.0
 */
export { decodeBy, decodeText, encodeText } from "./message.ts"
