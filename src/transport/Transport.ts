/**
 * The port to brokers: messages, the service, and its implementations without a broker. Programs see it as `Transport`, together
 * with what consumes.
 */
export {
  type Delivery,
  type SubscribeOptions,
  TransportUnavailable,
  MessageRefused,
  TransportError,
  Transport,
  publish,
  subscribe
} from "./service.ts"
export { Published, published, layerMemory, layerSinkhole } from "./memory.ts"
export { toMessage, decode, Message } from "./message.ts"
export { type Fault, layerFaulty } from "./faulty.ts"
