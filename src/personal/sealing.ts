/** Sealing and opening of JSON, whatever it is a part of: the payload of an event, a state, a message. */
import type * as Aead from "effect/crypto/Aead"
import type { CryptoError } from "effect/crypto/CryptoError"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import { forgottenJson, type Place, placesIn, replacing, reserved } from "../definitions/personal.ts"
import { ofStream } from "../definitions/personalField.ts"
import { parseJson } from "../internal/exactJson.ts"
import { canonicalJson, type JsonFault, jsonFault } from "../internal/json.ts"
import { toBytes, toText } from "./bytes.ts"
import { type Ciphertext, makeCiphers, type Plaintext } from "./ciphers.ts"
import { Keys, type KeysError, KeysUnavailable, type Standing, subjectFault, type SubjectKey } from "./subjectKeys.ts"

/** What is sealed or opened. */
export interface Item {
  readonly json: Schema.Json
  /** What it is a part of: what is sealed opens in a part of the same kind alone. For events and messages it is their type. */
  readonly kind: string
  /** What tells it from others of its kind: the same again is sealed alike. */
  readonly id?: string | undefined
  /** The stream that it belongs to, for subjects that are the id in its name. */
  readonly stream?: string | undefined
  /** Its envelopes, where they are known already. */
  readonly places?: ReadonlyArray<Place> | undefined
}

/** Something cannot be sealed. */
export class Refused {
  readonly _tag = "Refused"
  /** Of which item. */
  readonly index: number
  readonly path: string
  readonly problem: string
  constructor(index: number, path: string, problem: string) {
    this.index = index
    this.path = path
    this.problem = problem
  }
}

/** Seals and opens. What has no envelope in it is given back as it is. */
export interface Sealing {
  readonly seal: (items: ReadonlyArray<Item>) => Effect.Effect<ReadonlyArray<Schema.Json>, Refused | KeysError>
  readonly open: (items: ReadonlyArray<Item>) => Effect.Effect<ReadonlyArray<Schema.Json>, KeysError>
}

/** The subject of a value, or why there is none. */
const subjectOf = (of: string | undefined, { holder }: Place, { stream }: Item): { readonly subject: string } | string => {
  if (of === undefined) return "has neither a subject nor a key"
  const dash = stream?.indexOf("-") ?? -1
  const found: unknown =
    of !== ofStream ? (holder as Record<string, unknown> | undefined)?.[of] : dash < 0 ? undefined : stream?.slice(dash + 1)
  if (typeof found !== "string") {
    return of === ofStream
      ? "belongs to who is named by the stream, whose name has no id"
      : `belongs to who is named by the field "${of}" beside it, and there is no text in that`
  }
  const fault = subjectFault(found)
  return fault === undefined ? { subject: found } : `belongs to who is named by "${of}", which ${fault}`
}

/** What is to be done with one envelope. */
type Plan =
  | { readonly _tag: "New"; readonly path: string; readonly subject: string; readonly value: Schema.Json }
  | { readonly _tag: "Copy"; readonly path: string; readonly key: string; readonly value: Schema.Json }
  | { readonly _tag: "Forgotten"; readonly path: string }

/** Why what is sealed would not come back as it is, or could not be forgotten by itself. */
const valueFault = (value: unknown): JsonFault | undefined => {
  const fault = jsonFault(value)
  if (fault !== undefined) return fault
  const [inner] = placesIn(value)
  return (
    inner && {
      path: inner.path === "" ? "" : `.${inner.path}`,
      problem: "is personal data within personal data: put them side by side"
    }
  )
}

const planOf = (place: Place, item: Item): Plan | JsonFault => {
  const { envelope, path } = place
  const refused = (problem: string, within = ""): JsonFault => ({ path: `${path}${within}`, problem })
  switch (envelope._tag) {
    case "Forgotten":
      return { _tag: "Forgotten", path }
    case "Malformed":
      return refused(`has the key "${reserved}", which belongs to personal data, and is none`)
    case "Sealed":
      return refused(
        "is sealed already: what is copied must be copied as it was read, or in the store beneath (EventStore.copy does)"
      )
    case "Open": {
      const { key, of, value } = envelope
      const fault = valueFault(value)
      if (fault !== undefined) return refused(fault.problem, fault.path)
      if (key !== undefined) return { _tag: "Copy", path, key, value }
      const found = subjectOf(of, place, item)
      return typeof found === "string" ? refused(found) : { _tag: "New", path, subject: found.subject, value }
    }
  }
}

/** What is to be done with all envelopes of all items, and whose keys that takes. */
interface Plans {
  readonly ofItems: ReadonlyArray<ReadonlyArray<Plan>>
  readonly subjects: ReadonlySet<string>
  readonly ids: ReadonlySet<string>
}

const plansOf = (items: ReadonlyArray<Item>): Plans | Refused => {
  const subjects = new Set<string>()
  const ids = new Set<string>()
  const ofItems: Array<ReadonlyArray<Plan>> = []
  for (let index = 0; index < items.length; index++) {
    const item = items[index] as Item
    const plans: Array<Plan> = []
    for (const place of item.places ?? placesIn(item.json)) {
      const plan = planOf(place, item)
      if ("problem" in plan) return new Refused(index, plan.path, plan.problem)
      if (plan._tag === "New") subjects.add(plan.subject)
      if (plan._tag === "Copy") ids.add(plan.key)
      plans.push(plan)
    }
    ofItems.push(plans)
  }
  return { ofItems, subjects, ids }
}

/** The values of an item that one key seals: by their paths, so that the same are always in one order. */
interface Group {
  /** Of which item. */
  readonly at: number
  readonly key: SubjectKey
  readonly places: Array<{ readonly index: number; readonly path: string; readonly value: Schema.Json }>
}

const byPath = (a: { readonly path: string }, b: { readonly path: string }) => (a.path < b.path ? -1 : 1)

/** Adds a place where it belongs by its path: mostly behind the others. */
const insert = ({ places }: Group, place: Group["places"][number]): void => {
  const last = places.at(-1) as Group["places"][number]
  places.push(place)
  if (last.path > place.path) places.sort(byPath)
}

/** How many bindings are kept of all kinds, and of one. */
const [mostKinds, mostOfKind] = [1000, 16]

/** The bytes that a ciphertext is bound to: what it is a part of, and where its values stand. Few are used again and again. */
const makeBinding = () => {
  const kinds = new Map<string, Array<{ readonly paths: ReadonlyArray<string>; readonly bytes: Uint8Array }>>()
  return (kind: string, places: ReadonlyArray<{ readonly path: string }>): Uint8Array => {
    let known = kinds.get(kind)
    if (known === undefined) {
      if (kinds.size >= mostKinds) kinds.clear()
      kinds.set(kind, (known = []))
    }
    for (const { bytes, paths } of known) if (areAt(places, paths)) return bytes
    const paths = places.map(({ path }) => path)
    const bytes = toBytes(["eventfold/1", kind, ...paths].join("\n"))
    if (known.length < mostOfKind) known.push({ paths, bytes })
    return bytes
  }
}

const areAt = (places: ReadonlyArray<{ readonly path: string }>, paths: ReadonlyArray<string>): boolean => {
  if (places.length !== paths.length) return false
  for (let nth = 0; nth < paths.length; nth++) if (places[nth]?.path !== paths[nth]) return false
  return true
}

const broken = "sealed personal data that its key does not open: it has been changed, or stood elsewhere"

/** Seals and opens with the keys and the cryptography of the environment: a page at once. */
export const makeSealing: Effect.Effect<Sealing, never, Keys | Aead.Aead | Mac.Mac | SecureRandom.SecureRandom> = Effect.gen(
  function* () {
    const keys = yield* Keys
    const ciphers = yield* makeCiphers
    const binding = makeBinding()

    const sealWith = (
      items: ReadonlyArray<Item>,
      plans: Plans,
      bySubject: Standings,
      byId: Standings
    ): Effect.Effect<ReadonlyArray<Schema.Json>, Refused | KeysError> => {
      const groups = groupedByKey(items, plans, bySubject, byId)
      if (groups instanceof Refused) return Effect.fail(groups)
      const all = groups.map(({ at, key, places }): Plaintext => {
        const { id, kind } = items[at] as Item
        return { key, id, bytes: toBytes(textOf(places)), aad: binding(kind, places) }
      })
      return Effect.mapBoth(ciphers.seal(all), {
        onFailure: cannot("seal"),
        onSuccess: (texts) => sealedJson(items, plans, groups, texts)
      })
    }

    const openWith = (items: ReadonlyArray<Item>, found: ReadonlyArray<ReadonlyArray<Place>>, standings: Standings) => {
      const groups = groupsOf(found, standings)
      const all: Array<Ciphertext> = []
      for (const { at, key, places, sealed } of groups) {
        if (key._tag === "Key") all.push({ key, sealed, aad: binding((items[at] as Item).kind, places) })
      }
      return Effect.mapBoth(ciphers.open(all), {
        onFailure: cannot("open"),
        onSuccess: (opened) => openedJson(items, found, groups, opened)
      })
    }

    return {
      seal: (items) =>
        Effect.suspend((): Effect.Effect<ReadonlyArray<Schema.Json>, Refused | KeysError> => {
          const plans = plansOf(items)
          if (plans instanceof Refused) return Effect.fail(plans)
          const { ids, subjects } = plans
          return Effect.flatMap(subjects.size === 0 ? nobody : keys.sealing(subjects), (bySubject) =>
            ids.size === 0
              ? sealWith(items, plans, bySubject, none)
              : Effect.flatMap(keys.opening(ids), (byId) => sealWith(items, plans, bySubject, byId))
          )
        }),
      open: (items) =>
        Effect.suspend((): Effect.Effect<ReadonlyArray<Schema.Json>, KeysError> => {
          const found: Array<ReadonlyArray<Place>> = []
          const ids = new Set<string>()
          for (let index = 0; index < items.length; index++) {
            const places = placesIn((items[index] as Item).json)
            found.push(places)
            for (const { envelope } of places) {
              if (envelope._tag === "Sealed" && envelope.key !== undefined) ids.add(envelope.key)
            }
          }
          return Effect.flatMap(ids.size === 0 ? nobody : keys.opening(ids), (standings) => {
            for (const id of ids) if (!standings.has(id)) return Effect.fail(nobodyKnows(id))
            return openWith(items, found, standings)
          })
        })
    }
  }
)

type Standings = ReadonlyMap<string, Standing>

const none: Standings = new Map()
const nobody = Effect.succeed(none)

const nobodyKnows = (id: string) => {
  const detail = `nobody knows the key ${JSON.stringify(id)}: these are the keys of another system, or of an older time`
  return new KeysUnavailable({ operation: "open", detail })
}

const cannot = (operation: string) => (cause: CryptoError) => new KeysUnavailable({ operation, detail: cause.message, cause })

/** The text of values that is the same for the same values. */
const textOf = (places: Group["places"]): string => {
  const values = places.map(({ value }) => value)
  return values.every((value) => typeof value === "string") ? JSON.stringify(values) : canonicalJson(values)
}

/** What is sealed of all items, by its keys; or what cannot be stored, and why. */
const groupedByKey = (
  items: ReadonlyArray<Item>,
  { ofItems }: Plans,
  bySubject: Standings,
  byId: Standings
): ReadonlyArray<Group> | Refused => {
  const groups: Array<Group> = []
  for (let at = 0; at < items.length; at++) {
    const plans = ofItems[at] as ReadonlyArray<Plan>
    const first = groups.length
    for (let index = 0; index < plans.length; index++) {
      const plan = plans[index] as Plan
      if (plan._tag === "Forgotten") continue
      const { path, value } = plan
      const standing = plan._tag === "New" ? bySubject.get(plan.subject) : byId.get(plan.key)
      if (standing === undefined) return new Refused(at, path, "is said to have been read with a key that nobody knows")
      if (standing._tag === "Forgotten") {
        if (plan._tag === "Copy") continue
        const problem = `is new personal data of ${JSON.stringify(plan.subject)}, who is forgotten: Keys.readmit lets a subject in anew`
        return new Refused(at, path, problem)
      }
      const place = { index, path, value }
      let nth = first
      while (nth < groups.length && groups[nth]?.key.id !== standing.id) nth++
      if (nth === groups.length) groups.push({ at, key: standing, places: [place] })
      else insert(groups[nth] as Group, place)
    }
  }
  return groups
}

/** The items with ciphertexts, each at the first of its places; at the others is said which of its values they are. */
const sealedJson = (
  items: ReadonlyArray<Item>,
  { ofItems }: Plans,
  groups: ReadonlyArray<Group>,
  texts: ReadonlyArray<string>
): ReadonlyArray<Schema.Json> => {
  let next = 0
  return items.map(({ json }, at) => {
    const first = next
    while (groups[next]?.at === at) next++
    const outcomes: Array<Schema.Json> = []
    for (let group = first; group < next; group++) {
      const { key, places } = groups[group] as Group
      for (let nth = 0; nth < places.length; nth++) {
        const { index } = places[nth] as Group["places"][number]
        outcomes[index] = {
          [reserved]:
            nth === 0 ? { key: key.id, sealed: texts[group] as string } : next - first > 1 ? { key: key.id, nth } : { nth }
        }
      }
    }
    // What is in no group is forgotten.
    return ofItems[at]?.length === 0 ? json : replacing(json, (index) => outcomes[index] ?? forgottenJson)
  })
}

interface SealedPlace {
  readonly index: number
  readonly path: string
}

/** A ciphertext with the places that it has values for, in the order of its values. */
interface SealedGroup {
  /** Of which item. */
  readonly at: number
  readonly key: Standing
  readonly id: string
  readonly sealed: string
  readonly places: Array<SealedPlace>
}

/** What cannot be, as nobody has sealed it: it opens nothing. */
const nowhere: SealedPlace = { index: -1, path: "" }

/** The ciphertexts of all items. */
const groupsOf = (found: ReadonlyArray<ReadonlyArray<Place>>, standings: Standings): ReadonlyArray<SealedGroup> => {
  const groups: Array<SealedGroup> = []
  for (let at = 0; at < found.length; at++) {
    const places = found[at] as ReadonlyArray<Place>
    const first = groups.length
    for (let index = 0; index < places.length; index++) {
      const { envelope, path } = places[index] as Place
      if (envelope._tag !== "Sealed" || envelope.sealed === undefined || envelope.key === undefined) continue
      const key = standings.get(envelope.key)
      if (key !== undefined) groups.push({ at, key, id: envelope.key, sealed: envelope.sealed, places: [{ index, path }] })
    }
    for (let index = 0; index < places.length; index++) {
      const { envelope, path } = places[index] as Place
      if (envelope._tag !== "Sealed" || envelope.sealed !== undefined) continue
      const { key, nth } = envelope
      const group = groupWith(groups, first, key)
      if (group === undefined || !(nth > 0 && nth < places.length)) continue
      while (group.places.length <= nth) group.places.push(nowhere)
      group.places[nth] = { index, path }
    }
  }
  return groups
}

/** The ciphertext of an item that a key has sealed; where none is named, the only one that it has. */
const groupWith = (groups: ReadonlyArray<SealedGroup>, first: number, key: string | undefined): SealedGroup | undefined => {
  if (key === undefined) return groups.length === first + 1 ? groups[first] : undefined
  for (let nth = first; nth < groups.length; nth++) if (groups[nth]?.id === key) return groups[nth]
  return undefined
}

/** The items with what ciphertexts hold; `opened` has the plaintexts of those whose keys are there. */
const openedJson = (
  items: ReadonlyArray<Item>,
  found: ReadonlyArray<ReadonlyArray<Place>>,
  groups: ReadonlyArray<SealedGroup>,
  opened: ReadonlyArray<Uint8Array | undefined>
): ReadonlyArray<Schema.Json> => {
  let next = 0
  let nextOpened = 0
  return items.map(({ json }, at) => {
    const places = found[at] as ReadonlyArray<Place>
    if (places.length === 0) return json
    const outcomes: Array<Schema.Json> = []
    for (; groups[next]?.at === at; next++) {
      const group = groups[next] as SealedGroup
      const bytes = group.key._tag === "Key" ? opened[nextOpened++] : undefined
      const values = bytes && (parseJson(toText(bytes)) as ReadonlyArray<Schema.Json>)
      for (let nth = 0; nth < group.places.length; nth++) {
        outcomes[(group.places[nth] as SealedPlace).index] = openedValue(group, values?.[nth], nth)
      }
    }
    // What is in no group is not sealed, or lacks the ciphertext that it is a part of.
    return replacing(json, (index) => outcomes[index] ?? unopened(places[index] as Place))
  })
}

const openedValue = ({ id, key, sealed }: SealedGroup, value: Schema.Json | undefined, nth: number): Schema.Json => {
  if (key._tag === "Forgotten") return forgottenJson
  return {
    [reserved]: value === undefined ? { key: id, ...(nth === 0 ? { sealed } : { nth }), problem: broken } : { key: id, value }
  }
}

/** What stays as it was stored. */
const unopened = ({ envelope }: Place): Schema.Json =>
  envelope._tag === "Forgotten" ? forgottenJson : { [reserved]: { nth: 1, problem: broken } }
