/** Instants and durations, as they are shown. Instants are milliseconds since 1970. */

/** Day and time of an instant, in UTC or where the reader is. */
export const dayAndTime = (at: number, utc: boolean): { readonly day: string; readonly time: string } => {
  const date = new Date(utc ? at : at - new Date(at).getTimezoneOffset() * 60_000)
  const iso = Number.isNaN(date.getTime()) ? "not a time" : date.toISOString()
  return { day: iso.slice(0, 10), time: iso.slice(11, 19) }
}

/** `now`, `3s`, `5m`, `2h`, `4d`: the largest unit alone. */
export const span = (milliseconds: number): string => {
  const seconds = Math.floor(Math.abs(milliseconds) / 1000)
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** `3m ago`, `in 2h`, `now`. */
export const ago = (at: number, now: number): string =>
  Math.abs(now - at) < 1000 ? "now" : at > now ? `in ${span(at - now)}` : `${span(now - at)} ago`

/** `+12 ms`, `+1.4 s`, `+6 h`: what lies between two events. */
export const gap = (milliseconds: number): string => {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`
  if (milliseconds < 3_600_000) return `${Math.round(milliseconds / 60_000)} min`
  if (milliseconds < 172_800_000) return `${Math.round(milliseconds / 3_600_000)} h`
  return `${Math.round(milliseconds / 86_400_000)} days`
}

/**
 * What a person writes for an instant: `15m`, `2h`, `3d` (so long ago), or a day with or without a time. `undefined` where it is neither.
 */
export const instantOf = (text: string, now: number, utc: boolean): number | undefined => {
  const wanted = text.trim()
  const ago = /^(\d+(?:\.\d+)?)\s*([smhd])$/.exec(wanted)
  if (ago !== null) return now - Number(ago[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[ago[2] as "s" | "m" | "h" | "d"]
  const date = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?(Z?)$/.exec(wanted)
  if (date === null) return undefined
  const at = Date.parse(`${date[1]}T${date[2] ?? "00:00"}${utc || date[3] === "Z" ? "Z" : ""}`)
  return Number.isNaN(at) ? undefined : at
}
