/** Where the reader is, as a signal that follows the address, and the ways to another place. */
import { signal } from "@preact/signals"
import { formatRoute, parseRoute, type Route, type View } from "../pure/route.ts"

export const route = signal<Route>(parseRoute(location.hash))

/** The address of a place, for links. */
export const to = (view: View, params: Readonly<Record<string, string>> = {}): string => formatRoute({ view, params })

/** Goes to a place. `replace` is for steps that "back" should not stop at, as those of a slider. */
export const go = (view: View, params: Readonly<Record<string, string>> = {}, replace = false): void => {
  const address = to(view, params)
  if (address === location.hash) return
  if (replace) history.replaceState(null, "", address)
  else history.pushState(null, "", address)
  route.value = parseRoute(address)
}

/** Changes some of what is chosen in the view; empty is not chosen. */
export const choose = (params: Readonly<Record<string, string>>, replace = false): void =>
  go(route.value.view, { ...route.value.params, ...params }, replace)

export const followAddress = (): void =>
  addEventListener("popstate", () => {
    route.value = parseRoute(location.hash)
  })
