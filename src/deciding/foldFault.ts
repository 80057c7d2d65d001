/** Where a fold threw. */
interface FoldedEvent {
  readonly stream: string
  /** None where it waits for the commit, and nobody has said to which version. */
  readonly version?: number | undefined
  readonly type: string
  /** None where it waits for the commit. */
  readonly position?: number | undefined
}

/** The defect of a fold that threw, by what it threw at. */
export const foldFault = (owner: string, at: FoldedEvent | undefined, cause: unknown): Error => {
  const why = cause instanceof Error ? cause.message : String(cause)
  if (at === undefined) return new Error(`${owner}: the fold threw: ${why}`, { cause })
  const place = at.position === undefined ? "staged" : `position ${at.position}`
  const nth = at.version === undefined ? "an event" : `event ${at.version}`
  return new Error(`${owner}: the fold threw at ${nth} of stream "${at.stream}" (${at.type}, ${place}): ${why}`, { cause })
}
