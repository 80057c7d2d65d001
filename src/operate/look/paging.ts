/** Pages: how much one holds, and where the next one begins. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import { canonicalJson } from "../../internal/json.ts"
import { InvalidRequestError } from "../contract/errors.ts"

/** The rows of a page that is not told how many, and the most that any page has. */
const [usual, most] = [50, 500]

/** How many rows a page is to have. */
export const limitOf = (limit: number | undefined): Effect.Effect<number, InvalidRequestError> =>
  limit !== undefined && limit < 1
    ? Effect.fail(new InvalidRequestError({ detail: `limit must be at least 1, not ${limit}` }))
    : Effect.succeed(Math.min(limit ?? usual, most))

/** What a cursor belongs to: an operation, with these arguments. */
export interface Asking {
  readonly operation: string
  readonly arguments: unknown
}

/** FNV-1a over UTF-16 code units. */
const hash = (text: string): string => {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  return (value >>> 0).toString(36)
}

const plain = (value: unknown): unknown =>
  DateTime.isDateTime(value)
    ? value.epochMilliseconds
    : Array.isArray(value)
      ? value.map(plain)
      : typeof value === "object" && value !== null
        ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
        : value

const signatureOf = ({ arguments: given, operation }: Asking) => hash(`${operation} ${canonicalJson(plain(given) ?? null)}`)

/** Where the next page begins, as opaque text. */
export const cursorOf = (asking: Asking, place: ReadonlyArray<string | number>): string =>
  Base64Url.encode(JSON.stringify([signatureOf(asking), ...place]))

/** Where a page begins, by its cursor; `undefined` for the first page. Refused where the cursor is of something else. */
export const placeIn = (
  asking: Asking,
  cursor: string | undefined
): Effect.Effect<ReadonlyArray<string | number> | undefined, InvalidRequestError> => {
  if (cursor === undefined) return Effect.undefined
  const refused = Effect.fail(
    new InvalidRequestError({
      detail: `after is not a cursor that ${asking.operation} gave with these arguments: begin without it`
    })
  )
  const text = Base64Url.decodeString(cursor)
  if (Result.isFailure(text)) return refused
  const parsed = Result.try(() => JSON.parse(text.success) as unknown)
  if (Result.isFailure(parsed) || !Array.isArray(parsed.success)) return refused
  const [signature, ...place] = parsed.success as ReadonlyArray<unknown>
  const isPlace = place.every((part): part is string | number => typeof part === "string" || Number.isSafeInteger(part))
  return signature === signatureOf(asking) && isPlace ? Effect.succeed(place) : refused
}

/** A page of rows, one more of which was asked for than it holds. */
export const pageOf = <Row, Item>(
  asking: Asking,
  rows: ReadonlyArray<Row>,
  limit: number,
  head: number,
  place: (row: Row) => ReadonlyArray<string | number>,
  item: (row: Row) => Item
) => {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const next = rows.length > limit && last !== undefined ? cursorOf(asking, place(last)) : null
  return { items: shown.map(item), next, head, read: null }
}
