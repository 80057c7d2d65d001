/** What of an event or a state is not for every operator: marked in its Schema, found again in its JSON. */
import * as SchemaAST from "effect/SchemaAST"
import type * as Schema from "effect/Schema"

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

/** How deep a Schema is followed: it may contain itself. */
const deepest = 64

/** The JSON pointers of what is sensitive in a value, as a Schema has it. A value that does not fit the Schema is followed as far as it does. */
export const sensitiveIn = (ast: SchemaAST.AST, value: unknown, at = "", depth = 0): ReadonlyArray<string> => {
  if (depth > deepest || isSensitive(ast)) return [at]
  switch (ast._tag) {
    case "Suspend":
      return sensitiveIn(ast.thunk(), value, at, depth + 1)
    case "Union":
      return Array.from(new Set(ast.types.flatMap((type) => sensitiveIn(type, value, at, depth + 1))))
    case "Objects": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return []
      return Object.entries(value).flatMap(([name, inner]) => {
        const own = ast.propertySignatures.find((property) => property.name === name)?.type ?? ast.indexSignatures[0]?.type
        return own === undefined ? [] : sensitiveIn(own, inner, `${at}/${escape(name)}`, depth + 1)
      })
    }
    case "Arrays":
      return Array.isArray(value)
        ? value.flatMap((inner, index) => {
            const own = ast.elements[index] ?? ast.rest[0]
            return own === undefined ? [] : sensitiveIn(own, inner, `${at}/${index}`, depth + 1)
          })
        : []
    default:
      return []
  }
}
