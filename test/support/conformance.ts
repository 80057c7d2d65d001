import { describe, it } from "@effect/vitest"
import { EventStoreConformance } from "eventfold/testing"

/** Runs the conformance suite against a store, which removes events unless it says otherwise. `only` picks some of its cases. */
export const conforms = (
  store: string,
  options: Parameters<typeof EventStoreConformance.cases>[0],
  only: (testCase: EventStoreConformance.Case) => boolean = () => true
): void => {
  const { abilities, storage } = options
  describe(`conformance of ${store}`, () => {
    for (const testCase of EventStoreConformance.cases({ storage, abilities: { removes: true, ...abilities } }).filter(only)) {
      it.effect(`${testCase.promise}: ${testCase.name}`, () => testCase.run, 60_000)
    }
  })
}
