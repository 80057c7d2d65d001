/** Whether two types are the very same; `any` equals nothing but itself. */
export type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles if and only if `A` is exactly `B`. */
export declare const exactly: <A, B>(...proof: Equals<A, B> extends true ? [] : [expected: B, actual: A]) => void

/** Compiles if and only if `A` is not `any`. */
export declare const notAny: <A>(...proof: 0 extends 1 & A ? [problem: "this is any"] : []) => void

// The assertions themselves can fail.
exactly<{ readonly a: 1 }, { readonly a: 1 }>()
// @ts-expect-error
exactly<{ readonly a: 1 }, { a: 1 }>()
// @ts-expect-error
exactly<1 | 2, 1>()
// @ts-expect-error
exactly<any, 1>() // oxlint-disable-line typescript/no-explicit-any
// @ts-expect-error
notAny<any>() // oxlint-disable-line typescript/no-explicit-any
notAny<unknown>()
notAny<never>()
