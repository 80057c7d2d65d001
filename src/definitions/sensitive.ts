/** What of an event or a state is not for every operator: marked in its Schema, found again in its JSON. */
import * as SchemaAST from "effect/SchemaAST"
import type * as Schema from "effect/Schema"
import { deepest, someIn } from "./asts.ts"

const key = "eventfold/sensitive"

/**
 * Marks a Schema as sensitive, such as a person's name: whoever operates the program and may see payloads masked does not see its values.
 * What is stored is the same with and without.
 *
 * **Gotchas**: it hides nothing from whoever reads the store itself. What has to be erasable is told of in the guide on personal data.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event } from "eventfold"
 *
 * const Registered = Event.make("Registered", {
 *   customer: Schema.String,
 *   email: Event.sensitive(Schema.String)
 * })
 * Registered.make({ customer: "c1", email: "ada@example.org" }).email // => "ada@example.org"
 * ```
 *
 * @category annotations
 * @since 0.2.0
 */
export const sensitive = <S extends Schema.Top>(schema: S): S["Rebuild"] => schema.annotate({ [key]: true })

const isSensitive = (ast: SchemaAST.AST): boolean => SchemaAST.resolveAt<boolean>(key)(ast) === true

const escape = (name: string) => name.replaceAll("~", "~0").replaceAll("/", "~1")

/** Whether anything in a Schema is sensitive: of what is stored in another form than it has in the program, that is all that can be told. */
const hasSensitive = (ast: SchemaAST.AST): boolean => someIn(ast, isSensitive)

/** The pointers of everything in a value: nobody has described it. */
const allIn = (value: unknown, at: string): ReadonlyArray<string> =>
  typeof value === "object" && value !== null
    ? Object.entries(value).flatMap(([name, inner]) => allIn(inner, `${at}/${escape(name)}`))
    : [at]

/** Whether a Schema that has no parts says of a value of JSON that it may be an object or a list. */
const isOpen = ({ _tag }: SchemaAST.AST): boolean =>
  _tag === "Any" || _tag === "Unknown" || _tag === "ObjectKeyword" || _tag === "Declaration"

/** What is said of a value that a Schema does not know of: its pointers. */
type Unknown = (value: unknown, at: string) => ReadonlyArray<string>

const nothing: Unknown = () => []

const follow = (ast: SchemaAST.AST, value: unknown, unknown: Unknown, at: string, depth: number): ReadonlyArray<string> => {
  if (depth > deepest || isSensitive(ast)) return [at]
  if (ast.encoding !== undefined || ast._tag === "Declaration") return hasSensitive(ast) ? [at] : []
  const inner = (asts: ReadonlyArray<SchemaAST.AST>, value: unknown, name: string) => {
    const here = `${at}/${escape(name)}`
    return asts.length === 0 ? unknown(value, here) : asts.flatMap((ast) => follow(ast, value, unknown, here, depth + 1))
  }
  switch (ast._tag) {
    case "Suspend":
      return follow(ast.thunk(), value, unknown, at, depth + 1)
    case "Union": {
      const marked = ast.types.flatMap((type) => follow(type, value, nothing, at, depth + 1))
      // What one member does not know of, another may.
      const [first = [], ...others] = ast.types.map((type) => follow(type, value, unknown, at, depth + 1))
      return Array.from(new Set([...marked, ...first.filter((place) => others.every((other) => other.includes(place)))]))
    }
    case "Objects":
      if (typeof value !== "object" || value === null || Array.isArray(value)) return unknown(value, at)
      return Object.entries(value).flatMap(([name, own]) => inner(typesOf(ast, name), own, name))
    case "Arrays":
      if (!Array.isArray(value)) return unknown(value, at)
      return value.flatMap((own, index) => {
        const element = ast.elements[index]
        return inner(element === undefined ? ast.rest : [element], own, String(index))
      })
    default:
      return typeof value === "object" && value !== null && !isOpen(ast) ? unknown(value, at) : []
  }
}

/** What a Schema says of a property: of those that it does not name, what it says of all of them. */
const typesOf = (ast: SchemaAST.Objects, name: string): ReadonlyArray<SchemaAST.AST> => {
  const named = ast.propertySignatures.find((property) => property.name === name)
  return named === undefined ? ast.indexSignatures.map(({ type }) => type) : [named.type]
}

/**
 * The JSON pointers of what is sensitive in a value, as a Schema has it. What the Schema does not know of is sensitive, for nobody has said
 * that it is not; what is stored in another form than the program has it in is, as a whole, where any part of it is.
 */
export const sensitiveIn = (ast: SchemaAST.AST, value: unknown): ReadonlyArray<string> => follow(ast, value, allIn, "", 0)
