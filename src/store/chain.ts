/** The hash chain: each link is made of the one before it, and of the digests of its events. */

/**
 * The text of which the digest of a link is made: that of the link before, and those of its events, a line each.
 *
 * @category adapters
 * @since 0.2.0
 */
export const linkText = (before: string | undefined, digests: ReadonlyArray<string>): string =>
  [before ?? "", ...digests].join("\n")
