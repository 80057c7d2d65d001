/** Where the reader is: a view, and what is chosen in it. It stands in the part of the address that no server is sent. */
export const views = [
  "streams",
  "events",
  "conversations",
  "followers",
  "parked",
  "projections",
  "processes",
  "map",
  "operations"
] as const

export type View = (typeof views)[number]

export interface Route {
  readonly view: View
  readonly params: Readonly<Record<string, string>>
}

/** The route of an address; the first view where there is no such. */
export const parseRoute = (hash: string): Route => {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2)
  const view = views.find((view) => view === path) ?? "streams"
  return { view, params: Object.fromEntries(new URLSearchParams(query)) }
}

/** The address of a route: its keys in order, so that one place has one address. Empty values are left out. */
export const formatRoute = ({ params, view }: Route): string => {
  const query = new URLSearchParams()
  for (const key of Object.keys(params).sort()) if (params[key] !== "") query.set(key, params[key] ?? "")
  return `#/${view}${query.size === 0 ? "" : `?${query}`}`
}
