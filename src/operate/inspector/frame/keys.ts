/** The keys that work everywhere. Where one writes, they write. */
import { signal } from "@preact/signals"
import { go, route } from "../link/place.ts"
import { mainList } from "../parts/List.tsx"
import type { View } from "../pure/route.ts"

export const helpShown = signal(false)

/** What follows `g`. */
export const places: Readonly<Record<string, View>> = {
  s: "streams",
  e: "events",
  c: "conversations",
  f: "followers",
  p: "parked",
  j: "projections",
  r: "processes",
  m: "map",
  o: "operations"
}

/** How long after `g` its second key counts, in milliseconds. */
const pause = 1500

const writes = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.matches("input:not([type=range]), textarea, select")

/** Moves along the slider, wherever the keyboard is. */
const slide = (key: string): void => {
  const label = key === "ArrowLeft" ? "One version back" : "One version on"
  document.querySelector<HTMLButtonElement>(`.slider [aria-label="${label}"]`)?.click()
}

let wentAt = 0

const onKey = (event: KeyboardEvent): void => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return
  if (event.key === "Escape") {
    helpShown.value = false
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur()
    return
  }
  if (writes(event.target)) return
  const place = Date.now() - wentAt < pause ? places[event.key] : undefined
  wentAt = event.key === "g" ? Date.now() : 0
  if (place !== undefined) go(place)
  else if (event.key === "/") document.querySelector<HTMLInputElement>("#search")?.focus()
  else if (event.key === "?") helpShown.value = !helpShown.value
  else if (event.key === "j") mainList.value?.move(1)
  else if (event.key === "k") mainList.value?.move(-1)
  else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && route.value.view === "streams") slide(event.key)
  else return
  event.preventDefault()
}

export const listenToKeys = (): void => addEventListener("keydown", onKey)
