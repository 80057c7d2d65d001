import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseAst } from "vitest/node"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A field of options. */
interface Field {
  readonly name: string
  readonly optional: boolean
  /** What its docstring says. */
  readonly text: string
  /** Where the options are written out in the type of a parameter: what the docstring around them says. */
  readonly around?: string
}

/** What a subpath of the package exports under one name. A type and a value of the same name are two. */
export interface Exported {
  /** As one reaches it: `Event.make`. */
  readonly name: string
  readonly kind: "type" | "value"
  /** The file of its declaration, from the project's root, and the line. */
  readonly place: string
  /** What its docstring says, without its tags. */
  readonly text: string
  /** Whether it is there for other modules of the package alone, as its docstring says. */
  readonly internal: boolean
  /** The fields of an interface of options, and of the options in the parameters of what is called. */
  readonly fields: ReadonlyArray<Field>
}

/** A node of the syntax tree, of whatever kind. */
interface Node {
  readonly type: string
  readonly start: number
  readonly [key: string]: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && "start" in value

const nodesOf = (value: unknown): ReadonlyArray<Node> => (Array.isArray(value) ? value : [value]).filter(isNode)

/** The nodes right below one. */
const children = (node: Node): ReadonlyArray<Node> => Object.values(node).flatMap(nodesOf)

/** The name of an identifier. */
const nameOf = (node: unknown): string | undefined =>
  isNode(node) && node.type === "Identifier" ? String(node["name"]) : undefined

/** The docstring that ends at a place, without its margin. */
const docstringBefore = (source: string, end: number): string => {
  const [, inside = ""] = /\/\*\*((?:(?!\*\/)[^])*)\*\/\s*(?:\/\/.*\s*)*$/.exec(source.slice(0, end)) ?? []
  const lines = inside.split("\n").map((line) => line.replace(/^\s*\*? ?/, ""))
  return lines.join("\n").trim()
}

/** What a docstring says, without its tags. */
const saidBy = (docstring: string): string => docstring.replace(/^@\w[^]*/m, "").trim()

/** Whether it is the type of a field that nobody can give. */
const isNever = (annotation: Node): boolean => children(annotation).some(({ type }) => type === "TSNeverKeyword")

const fieldsOf = (members: ReadonlyArray<Node>, source: string, around?: string): ReadonlyArray<Field> =>
  members.flatMap((member) => {
    const name = member.type === "TSPropertySignature" ? nameOf(member["key"]) : undefined
    if (name === undefined || (isNode(member["typeAnnotation"]) && isNever(member["typeAnnotation"]))) return []
    const field = { name, optional: member["optional"] === true, text: saidBy(docstringBefore(source, member.start)) }
    return [around === undefined ? field : { ...field, around }]
  })

/** The fields of the options that are written out in the parameters below a node. */
const inlineFields = (node: Node, source: string, around: string): ReadonlyArray<Field> => {
  // A body is no business of the reader's.
  if (node.type === "BlockStatement") return []
  const said = node.type.endsWith("Signature") ? saidBy(docstringBefore(source, node.start)) || around : around
  const literals = (type: Node): ReadonlyArray<Node> =>
    type.type === "TSTypeLiteral" ? [type] : children(type).flatMap(literals)
  const own = nameOf(node) === "options" && isNode(node["typeAnnotation"]) ? literals(node["typeAnnotation"]) : []
  return [
    ...own.flatMap((literal) => fieldsOf(children(literal), source, said)),
    ...children(node).flatMap((child) => inlineFields(child, source, said))
  ]
}

const declaredBy = (declaration: Node, start: number, source: string, file: string): ReadonlyArray<Exported> => {
  const variables = declaration.type === "VariableDeclaration" ? children(declaration) : [declaration]
  const place = `${file}:${source.slice(0, start).split("\n").length}`
  const docstring = docstringBefore(source, start)
  const text = saidBy(docstring)
  const internal = /^@internal\b/m.test(docstring)
  return variables.flatMap((variable): ReadonlyArray<Exported> => {
    const name = nameOf(variable["id"])
    if (name === undefined) return []
    const isType = variable.type === "TSInterfaceDeclaration" || variable.type === "TSTypeAliasDeclaration"
    const own =
      variable.type === "TSInterfaceDeclaration" && name.endsWith("Options") && isNode(variable["body"])
        ? fieldsOf(children(variable["body"]), source)
        : []
    // Where the type is written out, it is what one sees.
    const seen = isNode(variable["id"]) && isNode(variable["id"]["typeAnnotation"]) ? variable["id"] : variable
    const fields = [...own, ...inlineFields(seen, source, text)]
    return [{ name, kind: isType ? "type" : "value", place, text, internal, fields }]
  })
}

/**
 * What a module exports, where it is declared: what it exports again is followed, and what is exported as a namespace has the
 * name of that before its own.
 */
export const exportsOf = (file: string, read: (file: string) => string): ReadonlyArray<Exported> => {
  const source = read(file)
  const statements = nodesOf(parseAst(source, { lang: "ts" }).body)
  const named = (specifier: Node, key: string) => nameOf(specifier[key]) ?? ""
  const inner = (statement: Node) => {
    const from = isNode(statement["source"]) ? String(statement["source"]["value"]) : ""
    return from.startsWith(".") ? exportsOf(join(dirname(file), from), read) : []
  }
  /** What stands in the module under a name of its own: declared there, or imported. */
  const locals = () =>
    statements.flatMap((statement) => {
      if (statement.type !== "ImportDeclaration") return declaredBy(statement, statement.start, source, file)
      const others = inner(statement)
      return children(statement).flatMap((specifier) =>
        others
          .filter(({ name }) => name === named(specifier, "imported"))
          .map((other) => ({ ...other, name: named(specifier, "local") }))
      )
    })
  return statements.flatMap((statement): ReadonlyArray<Exported> => {
    const { declaration, exported, specifiers } = statement
    if (statement.type === "ExportAllDeclaration") {
      const namespace = nameOf(exported)
      return inner(statement).map((each) => (namespace === undefined ? each : { ...each, name: `${namespace}.${each.name}` }))
    }
    if (statement.type !== "ExportNamedDeclaration") return []
    if (isNode(declaration)) return declaredBy(declaration, statement.start, source, file)
    const others = isNode(statement["source"]) ? inner(statement) : locals()
    const again = nodesOf(specifiers)
    // A docstring where a name is exported again goes before that of its declaration.
    const said = again.length === 1 ? saidBy(docstringBefore(source, statement.start)) : ""
    return again.flatMap((specifier) => {
      const typed = statement["exportKind"] === "type" || specifier["exportKind"] === "type"
      return others
        .filter(({ name }) => name === named(specifier, "local"))
        .map((other) => ({
          ...other,
          name: named(specifier, "exported"),
          kind: typed ? "type" : other.kind,
          text: said === "" ? other.text : said
        }))
    })
  })
}

/** What the package exports, by its subpaths. */
export const packageExports = (): Readonly<Record<string, ReadonlyArray<Exported>>> => {
  const files = readdirSync(join(root, "src"), { encoding: "utf8", recursive: true })
  return Object.fromEntries(
    files
      .filter((file) => /^(?:\w+\/)?index\.ts$/.test(file))
      .map((file) => [
        join("eventfold", dirname(file)),
        exportsOf(join("src", file), (module) => readFileSync(join(root, module), "utf8"))
      ])
  )
}
