/** The version of this package, as its manifest has it. */
export const library = "0.1.0"
