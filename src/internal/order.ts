/** Code point order, which is also the order of UTF-8 bytes and so of the databases. */
export const byCodePoint = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index)
    const right = b.charCodeAt(index)
    if (left !== right) {
      // Surrogates stand for code points above all others of the basic plane.
      const leftHigh = left >= 0xd800 && left <= 0xdfff
      const rightHigh = right >= 0xd800 && right <= 0xdfff
      return leftHigh === rightHigh ? left - right : leftHigh ? 1 : -1
    }
  }
  return a.length - b.length
}
