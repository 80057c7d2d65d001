/**
 * The port to brokers: messages, the service, and its implementations without a broker. Programs see it as `Transport`, together
 * with what consumes.
 */
export {
  type Delivery,
  type Finding,
  type SubscribeOptions,
  TransportUnavailable,
  MessageRefused,
  TransportError,
  GroupInUseError,
  Transport,
  publish,
  subscribe,
  forget
} from "./service.ts"
export { Published, published, layerMemory, layerSinkhole } from "./memory.ts"
export { isMessage } from "./cloudEvents.ts"
export { toMessage } from "./leaving.ts"
export { type CloudEvent, decode, Message } from "./message.ts"
export { type Marked, spanOf, traceMetadata } from "./tracing.ts"
export { type Fault, layerFaulty } from "./faulty.ts"
