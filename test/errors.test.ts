import { readFileSync } from "node:fs"
import * as eventfold from "eventfold"
import { describe, expect, it } from "vitest"

/** The classes of errors that the modules export, as `Module.Class`. */
const classes = Object.entries(eventfold).flatMap(([module, exported]) =>
  Object.entries(exported).flatMap(([name, value]: [string, unknown]) =>
    typeof value === "function" && value.prototype instanceof Error ? [{ module, name, error: value }] : []
  )
)

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
})
