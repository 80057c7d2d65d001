/**
 * Operations: look at a store and at what follows it, and act on it, from a program, a command line or a page.
 *
 * @module eventfold/operate
 * @since 0.2.0
 */
export * as Inspector from "./Inspector.ts"
export * as Operate from "./Operate.ts"
export * as Operations from "./Operations.ts"
