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
  GroupInUseError,
  Transport,
  publish,
  subscribe,
  forget
} from "./service.ts"
export { Published, published, layerMemory, layerSinkhole } from "./memory.ts"
export { toMessage, decode, Message } from "./message.ts"
export { type Fault, layerFaulty } from "./faulty.ts"
