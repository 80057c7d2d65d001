/** The life of a stream as a line that one moves along: by version, or by time, so that pauses are seen. */
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import { plain } from "../pure/text.ts"
import { gap } from "../pure/time.ts"
import { timeline } from "../pure/timeline.ts"
import { isNote } from "../pure/tree.ts"
import type { Life, Step } from "./life.ts"

/** Events that have a label each; of more there are ticks. */
const mostLabels = 12

interface Options {
  readonly life: Life | undefined
  readonly latest: number
  readonly version: number
  readonly onVersion: (version: number) => void
}

/** Where each loaded version stands, from 0 to 1. */
const placesOf = (steps: ReadonlyArray<Step>, latest: number, byTime: boolean): ReadonlyArray<number> =>
  byTime
    ? timeline(steps.map(({ event }) => event.recordedAt.epochMilliseconds)).places
    : steps.map(({ version }) => (latest <= 1 ? 0.5 : (version - 1) / (latest - 1)))

/** A number for each type, by which ticks are coloured. */
const toneOf = (steps: ReadonlyArray<Step>) => {
  const types = Array.from(new Set(steps.map(({ event }) => event.type)))
  return (type: string) => (isNote(type) ? "own" : String(types.indexOf(type) % 6))
}

const Marks = ({ places, steps, version }: { steps: ReadonlyArray<Step>; places: ReadonlyArray<number>; version: number }) => {
  const tone = toneOf(steps)
  const labelled = steps.length <= mostLabels
  const style = (index: number) => ({ left: `${((places[index] ?? 0) * 100).toFixed(2)}%` })
  return (
    <div class="marks" aria-hidden="true" style={{ "--labels": String(Math.max(1, steps.length)) }}>
      {steps.map((step, index) => (
        <i
          key={step.version}
          class="tick"
          data-colour={tone(step.event.type)}
          data-chosen={step.version === version}
          data-later={step.version > version}
          style={style(index)}
        />
      ))}
      {steps.map((step, index) =>
        labelled || step.version === version ? (
          <span
            key={step.version}
            class="label"
            data-chosen={step.version === version}
            data-later={step.version > version}
            data-end={(places[index] ?? 0) < 0.06 ? "left" : (places[index] ?? 0) > 0.94 ? "right" : undefined}
            style={style(index)}
          >
            <bdi>{plain(step.event.type)}</bdi>
          </span>
        ) : null
      )}
    </div>
  )
}

const Pauses = ({ steps }: { readonly steps: ReadonlyArray<Step> }) => (
  <div class="pauses" aria-hidden="true">
    {timeline(steps.map(({ event }) => event.recordedAt.epochMilliseconds)).pauses.map(({ from, milliseconds, to }) =>
      to - from < 0.04 ? null : (
        <span key={from} style={{ left: `${from * 100}%`, width: `${(to - from) * 100}%` }}>
          {gap(milliseconds)}
        </span>
      )
    )}
  </div>
)

/** The version that a key leads to. */
const stepOf = (key: string, version: number, latest: number): number | undefined =>
  ({ ArrowLeft: version - 1, ArrowDown: version - 1, ArrowRight: version + 1, ArrowUp: version + 1, Home: 1, End: latest })[
    key
  ] ?? { PageDown: version - 10, PageUp: version + 10 }[key]

export const Slider = ({ latest, life, onVersion, version }: Options) => {
  const [byTime, setByTime] = useState(false)
  const steps = life?.steps ?? []
  const whole = steps.length === latest && latest > 0
  const timed = byTime && whole
  const places = placesOf(steps, latest, timed)
  const input = useRef<HTMLInputElement>(null)
  const place = timed ? (places[version - 1] ?? 0) : latest <= 1 ? 0.5 : (version - 1) / (latest - 1)
  useLayoutEffect(() => {
    if (input.current !== null) input.current.value = String(Math.round(place * 10_000))
  })
  const near = (value: number): number => {
    if (!timed) return Math.round(value * (latest - 1)) + 1
    const distances = places.map((place) => Math.abs(place - value))
    return steps[distances.indexOf(Math.min(...distances))]?.version ?? version
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const next = stepOf(event.key, version, latest)
    if (next === undefined) return
    event.preventDefault()
    event.stopPropagation()
    onVersion(next)
  }
  const type = steps.find((step) => step.version === version)?.event.type ?? ""
  return (
    <div class="slider">
      <button type="button" aria-label="One version back" disabled={version <= 1} onClick={() => onVersion(version - 1)}>
        ←
      </button>
      <div class="track" data-pauses={timed}>
        <Marks steps={steps} places={places} version={version} />
        <div class="rail" aria-hidden="true">
          <i style={{ width: `${(place * 100).toFixed(2)}%` }} />
        </div>
        <input
          ref={input}
          type="range"
          min={0}
          max={10_000}
          aria-label="Version"
          aria-valuetext={plain(`Version ${version} of ${latest}${type === "" ? "" : `: ${type}`}`)}
          onInput={({ currentTarget }) => onVersion(near(Number(currentTarget.value) / 10_000))}
          onKeyDown={onKeyDown}
        />
        {timed ? <Pauses steps={steps} /> : null}
      </div>
      <button type="button" aria-label="One version on" disabled={version >= latest} onClick={() => onVersion(version + 1)}>
        →
      </button>
      <button
        type="button"
        class="plain"
        aria-pressed={byTime}
        disabled={!whole}
        title={whole ? "The line by version, or by time" : "By time only where all versions are loaded"}
        onClick={() => setByTime(!byTime)}
      >
        by time
      </button>
    </div>
  )
}
