import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** Attributes by which what is measured of one thing is told apart. */
const inner: ReadonlySet<string> = new Set(["state", "partition"])

/**
 * Takes out of the metrics what has been measured of something that is gone: all series whose attribute has the value, under the attributes that
 * the fiber adds to all of them.
 */
export const removeSeries = (attribute: string, value: string): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const registry = fiber.getRef(Metric.MetricRegistry)
    const added = fiber.getRef(Metric.CurrentMetricAttributes)
    for (const [key, { attributes = {}, id }] of registry) {
      if (!id.startsWith("eventfold_") || attributes[attribute] !== value) continue
      const isOurs = Object.entries(attributes).every(
        ([name, content]) => name === attribute || inner.has(name) || added[name] === content
      )
      if (isOurs) registry.delete(key)
    }
    return Effect.void
  })
