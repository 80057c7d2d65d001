/** So long, in milliseconds, programs may still run, or come back, whose place later ones have taken. */
export const rollOut = 30 * 24 * 60 * 60 * 1000
