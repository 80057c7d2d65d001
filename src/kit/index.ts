/**
 * For those who write a store or a transport of their own: what every adapter of eventfold is made of.
 *
 * @module eventfold/kit
 * @since 0.2.0
 */
export * from "../store/kit/index.ts"
export * from "../transport/kit.ts"
