/** What is kept in memory of what has been read: all of it is dropped at once where something in it is to be forgotten. */
let times = 0

/** How often all has been forgotten: what is kept since before the last time is not to be used. */
export const timesForgotten = (): number => times

/** Lets whatever keeps something in memory forget it. */
export const forgetKept = (): void => void times++
