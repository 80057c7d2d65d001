import { readFileSync } from "node:fs"
import { Cause } from "effect"
import * as eventfold from "eventfold"
import { EventStore, Transport } from "eventfold"
import * as cluster from "eventfold/cluster"
import * as jsonl from "eventfold/jsonl"
import * as http from "eventfold/http"
import * as kafka from "eventfold/kafka"
import * as kit from "eventfold/kit"
import * as nats from "eventfold/nats"
import * as operate from "eventfold/operate"
import * as postgres from "eventfold/postgres"
import * as rabbitmq from "eventfold/rabbitmq"
import * as redis from "eventfold/redis"
import * as sqlite from "eventfold/sqlite"
import * as testing from "eventfold/testing"
import * as workflow from "eventfold/workflow"
import { describe, expect, it } from "vitest"
import manifest from "../package.json" with { type: "json" }

/** A class that `Schema.TaggedError` has made. */
interface ErrorClass {
  readonly identifier: string
  readonly fields: { readonly _tag: { readonly schema: { readonly literal: string } } }
  readonly prototype: Error
}

const isErrorClass = (value: unknown): value is ErrorClass => typeof value === "function" && value.prototype instanceof Error

/** The classes of errors that the modules export, as `Module.Class`. */
const classes = Object.entries({ ...eventfold, ...operate }).flatMap(([module, exported]) =>
  Object.entries(exported).flatMap(([name, error]: [string, unknown]) => (isErrorClass(error) ? [{ module, name, error }] : []))
)

const subpaths = {
  ".": eventfold,
  "./cluster": cluster,
  "./jsonl": jsonl,
  "./http": http,
  "./kafka": kafka,
  "./kit": kit,
  "./nats": nats,
  "./operate": operate,
  "./postgres": postgres,
  "./rabbitmq": rabbitmq,
  "./redis": redis,
  "./sqlite": sqlite,
  "./testing": testing,
  "./workflow": workflow
}

/** Every class of errors that any subpath exports, from whatever depth. */
const everywhere = (): ReadonlyArray<ErrorClass> => {
  const found = new Set<ErrorClass>()
  const look = (exported: object): void => {
    for (const value of Object.values(exported)) {
      if (isErrorClass(value)) found.add(value)
      else if (typeof value === "object" && value !== null && value[Symbol.toStringTag] === "Module") look(value)
    }
  }
  look(subpaths)
  for (const module of Object.values(subpaths)) look(module)
  return Array.from(found)
}

const tagOf = ({ fields }: ErrorClass) => fields._tag.schema.literal

describe("the errors", () => {
  it("are called what their class is called", () => {
    expect(classes.length).toBeGreaterThan(30)
    expect(classes.map(({ error }) => error)).toEqual(
      classes.map(({ module, name }) =>
        expect.objectContaining({
          identifier: `eventfold/${module}/${name}`,
          fields: expect.objectContaining({
            _tag: expect.objectContaining({ schema: expect.objectContaining({ literal: name }) })
          })
        })
      )
    )
  })

  it("are listed in the guide", () => {
    const guide = readFileSync(new URL("../src/guides/errors.md", import.meta.url), "utf8")
    const listed = [...guide.matchAll(/^\| `(\w+\.\w+)` \|/gm)].map(([, name]) => name)
    expect(listed.toSorted()).toEqual(classes.map(({ module, name }) => `${module}.${name}`).toSorted())
  })

  it("of all subpaths are known here", () => {
    const exported = Object.keys(manifest.exports).filter((subpath) => subpath !== "./package.json")
    expect(Object.keys(subpaths).toSorted()).toEqual(exported.toSorted())
    expect(everywhere().length).toBeGreaterThanOrEqual(classes.length)
  })

  it("have a tag each: one that is caught by its tag is the one that is meant", () => {
    const tags = everywhere().map(tagOf)
    expect(tags.filter((tag, index) => tags.indexOf(tag) !== index)).toEqual([])
  })

  it("have no field that hides what every error has", () => {
    const hiding = everywhere().filter(({ fields }) => ["name", "message", "stack"].some((field) => field in fields))
    expect(hiding.map(({ identifier }) => identifier)).toEqual([])
  })

  it("have a message of their own", () => {
    const mute = everywhere().filter(({ prototype }) => !Object.hasOwn(prototype, "message"))
    expect(mute.map(({ identifier }) => identifier)).toEqual([])
  })
})

describe("a reason says what happened and what to do", () => {
  const about = { operation: "append", detail: "connection refused" }

  it.each([
    [
      new EventStore.StoreUnavailable(about),
      "The store was not available during append: connection refused. Nothing was written: try again later"
    ],
    [
      new EventStore.OutcomeUnknown(about),
      "The answer was lost during append: connection refused. It may have been written, or not: repeat it with the same event ids, or look first"
    ],
    [
      new EventStore.TransactionConflict(about),
      "The database ended the transaction in favour of another during append: connection refused. Nothing was written: run the whole transaction again"
    ],
    [
      new EventStore.StoreCorrupted(about),
      "What is stored contradicts itself, as was seen during append: connection refused. The store refuses to write until that is repaired"
    ],
    [
      new EventStore.InvalidRead({ operation: "read", detail: "from must not be negative" }),
      "What was asked for makes no sense, during read: from must not be negative. Mend the caller"
    ],
    [
      new EventStore.StoreFailure({ operation: "append", detail: "no space left" }),
      "The storage failed during append: no space left. Nothing was written: mend what the storage complains of"
    ],
    [
      new Transport.TransportUnavailable({ operation: "publish", detail: "nobody answers" }),
      "The broker could not be reached, or did not answer in time, during publish: nobody answers. Try again with the same messages"
    ],
    [
      new Transport.MessageRefused({ operation: "publish", id: "7", detail: "too large" }),
      'The broker will never take the message "7" (publish): too large. Mend the message, or the broker\'s limit'
    ]
  ])("%s", (reason, message) => {
    expect(reason.message).toBe(message)
    expect(reason.name).toMatch(new RegExp(`^eventfold/(EventStore|Transport)/${reason._tag}$`))
  })

  it("and it is told with the error that it is the reason of", () => {
    const reason = new EventStore.StoreUnavailable(about)
    expect(Cause.pretty(Cause.fail(new EventStore.EventStoreError({ reason })))).toContain(reason.message)
  })
})
