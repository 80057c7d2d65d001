/** Text that came out of a store, and what is said of it. It is shown as text, never as markup. */

/** What moves the cursor, turns the direction of the text, or cannot be seen. */
const unprintable = /[\p{Cc}\p{Bidi_Control}\p{Cs}\u2028\u2029\u200b\u2060-\u2064\ufeff\ufff9-\ufffb]/gu

/** The text with control and direction characters written out, as `\u202e`. */
export const plain = (text: string): string =>
  text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** `1,234,567`. */
export const count = (value: number): string => value.toLocaleString("en-US")

/** `12,345` up to a million, then `1.2 M`: for places that are narrow. */
export const short = (value: number): string =>
  value < 1e6 ? count(value) : `${(value / (value < 1e9 ? 1e6 : 1e9)).toFixed(1)} ${value < 1e9 ? "M" : "G"}`

/** `512 B`, `1.4 kB`, `3.0 GB`. */
export const bytes = (value: number): string => {
  let rest = value
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (rest < 1000) return `${unit === "B" ? rest : rest.toFixed(1)} ${unit}`
    rest /= 1000
  }
  return `${rest.toFixed(1)} TB`
}

/** `1 event`, `2 events`. */
export const plural = (number: number, noun: string): string => `${count(number)} ${noun}${number === 1 ? "" : "s"}`

/** The part of a stream's name before the first `-`. */
export const categoryOf = (stream: string): string => {
  const dash = stream.indexOf("-")
  return dash < 0 ? stream : stream.slice(0, dash)
}

/** The part of a stream's name after its category; all of it where there is none. */
export const idOf = (stream: string): string => stream.slice(categoryOf(stream).length + 1) || stream

/** The first and last characters of an id that is too long to be read. */
export const brief = (id: string, ends = 8): string => (id.length <= ends * 2 ? id : `${id.slice(0, ends)}…${id.slice(-4)}`)
