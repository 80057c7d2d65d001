import type { Finding } from "./service.ts"

/**
 * Something that was looked at at a broker, and what to do about it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const finding = (check: string, level: Finding["level"], message: string, remedy: string | null = null): Finding => ({
  check,
  level,
  message,
  remedy
})
