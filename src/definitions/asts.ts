/** Ways through what a Schema is made of. */
import * as SchemaAST from "effect/SchemaAST"

/** How deep a Schema is followed: it may contain itself. */
export const deepest = 64

const partsOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  switch (ast._tag) {
    case "Suspend":
      return [ast.thunk()]
    case "Union":
      return ast.types
    case "Declaration":
      return ast.typeParameters
    case "Objects":
      return [
        ...ast.propertySignatures.map(({ type }) => type),
        ...ast.indexSignatures.flatMap(({ parameter, type }) => [parameter, type])
      ]
    case "Arrays":
      return [...ast.elements, ...ast.rest]
    default:
      return []
  }
}

/** Whether anything in a Schema is such, also of what it is encoded to. */
export const someIn = (
  ast: SchemaAST.AST,
  is: (ast: SchemaAST.AST) => boolean,
  seen: ReadonlySet<SchemaAST.AST> = new Set()
): boolean => {
  if (seen.has(ast) || seen.size > deepest) return false
  const inside = new Set([...seen, ast])
  const any = (asts: ReadonlyArray<SchemaAST.AST>) => asts.some((ast) => someIn(ast, is, inside))
  return is(ast) || any(partsOf(ast)) || any((ast.encoding ?? []).map(({ to }) => to))
}

/** The parts of a Schema that has no encoding, each as `each` has it. */
const rebuilt = (
  ast: SchemaAST.AST,
  each: (ast: SchemaAST.AST) => SchemaAST.AST,
  checks: SchemaAST.AST["checks"]
): SchemaAST.AST => {
  const { annotations, context } = ast
  switch (ast._tag) {
    case "Objects":
      return new SchemaAST.Objects(
        ast.propertySignatures.map(({ name, type }) => new SchemaAST.PropertySignature(name, each(type))),
        ast.indexSignatures.map(({ parameter, type }) => new SchemaAST.IndexSignature(parameter, each(type))),
        annotations,
        checks,
        undefined,
        context,
        ast.encodingChecks
      )
    case "Arrays":
      return new SchemaAST.Arrays(
        ast.isMutable,
        ast.elements.map(each),
        ast.rest.map(each),
        annotations,
        checks,
        undefined,
        context,
        ast.encodingChecks
      )
    case "Union":
      return new SchemaAST.Union(ast.types.map(each), ast.options, annotations, checks, undefined, context, ast.encodingChecks)
    case "Suspend":
      return new SchemaAST.Suspend(() => each(ast.thunk()), annotations, checks, undefined, context)
    default:
      return ast
  }
}

/**
 * A Schema in which other things stand for some. `change` gives what stands for a part, `undefined` where it is looked into; `isChecked` says
 * whether the checks of a part that is looked into still hold of it.
 */
export const mapped = (
  ast: SchemaAST.AST,
  change: (ast: SchemaAST.AST, each: (ast: SchemaAST.AST) => SchemaAST.AST) => SchemaAST.AST | undefined,
  isChecked: (ast: SchemaAST.AST) => boolean = () => true
): SchemaAST.AST => {
  const known = new Map<SchemaAST.AST, SchemaAST.AST>()
  const each = (ast: SchemaAST.AST): SchemaAST.AST => {
    const before = known.get(ast)
    if (before !== undefined) return before
    const after = change(ast, each) ?? (ast.encoding === undefined ? within(ast) : encoded(ast, ast.encoding))
    known.set(ast, after)
    return after
  }
  const within = (ast: SchemaAST.AST) => rebuilt(ast, each, isChecked(ast) ? ast.checks : undefined)
  const encoded = (ast: SchemaAST.AST, encoding: SchemaAST.Encoding) =>
    encoding.reduce(
      (to, { to: from, transformation }, index) =>
        SchemaAST.decodeTo(
          index === encoding.length - 1 ? each(from) : from,
          to,
          transformation as Parameters<typeof SchemaAST.decodeTo>[2]
        ),
      SchemaAST.toType(ast)
    )
  return each(ast)
}
