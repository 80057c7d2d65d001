/** Secrets in Schemas: what is in a `Schema.Redacted` is recorded nowhere. */
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

const partsOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  switch (ast._tag) {
    case "Declaration":
      return ast.typeParameters
    case "Objects":
      return [...ast.propertySignatures.map(({ type }) => type), ...ast.indexSignatures.map(({ type }) => type)]
    case "Arrays":
      return [...ast.elements, ...ast.rest]
    case "Union":
      return ast.types
    case "Suspend":
      return [ast.thunk()]
    default:
      return []
  }
}

const find = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST>): boolean => {
  if (seen.has(ast)) return false
  seen.add(ast)
  const { representation } = (SchemaAST.isDeclaration(ast) ? ast.annotations : undefined) ?? {}
  if ((representation as { readonly id?: unknown } | undefined)?.id === "effect/schema/Redacted") return true
  return [...partsOf(ast), ...(ast.encoding ?? []).map(({ to }) => to)].some((part) => find(part, seen))
}

const found = new WeakMap<SchemaAST.AST, boolean>()

/** Whether a Schema has a `Schema.Redacted` in it. */
export const hasSecret = ({ ast }: Schema.Top): boolean => {
  const known = found.get(ast)
  if (known !== undefined) return known
  const has = find(ast, new Set())
  found.set(ast, has)
  return has
}
