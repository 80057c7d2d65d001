/** What moves the cursor or turns the text. */
const unprintable = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu

/** Text from a store as it can be shown: what would move the cursor, or turn the text about, is written as `\u202e`. */
export const printable = (text: string): string =>
  text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)
