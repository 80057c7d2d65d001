/** The checkpoint of a subscription. */
export const subscriptionCheckpoint = (name: string): string => `subscription:${name}`

/** The name of the subscription that runs a version of a projection, as long as it runs async. */
export const projectionName = (name: string, version: number): string => `projection:${name}@${version}`
