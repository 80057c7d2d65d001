/** One follower: its life as a drawn machine, why it stands still, and what it has parked. */
import type { Follower } from "../../Operations.ts"
import { Ago, EventLink, Pill, StreamLink, Text } from "../parts/basic.tsx"
import { ActButton } from "../parts/Act.tsx"
import { LagChart } from "../parts/Chart.tsx"
import { boxOf, lineOf, places, size, type State, ways } from "../pure/machine.ts"
import { count, plain } from "../pure/text.ts"
import { ParkedEvents } from "./Parked.tsx"

const states = Object.keys(places) as ReadonlyArray<State>

const Machine = ({ state }: { readonly state: string }) => (
  <svg class="machine" width={size.width} height={size.height} role="img" aria-label={`The follower is ${state}`}>
    {ways.map(([from, to]) => {
      const line = lineOf(from, to)
      return <line key={from + to} x1={line.from.x} y1={line.from.y} x2={line.to.x} y2={line.to.y} data-lit={to === state} />
    })}
    {states.map((name) => {
      const box = boxOf(name)
      return (
        <g key={name} data-now={name === state} data-state={name}>
          <rect {...box} rx="7" />
          <text x={box.x + box.width / 2} y={box.y + 18} text-anchor="middle">
            {name.replace("-", " ")}
          </text>
        </g>
      )
    })}
  </svg>
)

const Failure = ({ follower }: { readonly follower: Follower }) => {
  const { failure, state } = follower
  if (failure === null) return null
  return (
    <section class="failure" aria-label="Failure">
      <strong>
        {state === "halted" ? "Halted" : state === "backing-off" ? "Backs off" : "Failed last"}
        {failure.position === null ? null : (
          <>
            {" at "}
            <EventLink position={failure.position} />
          </>
        )}
      </strong>
      {failure.type === null ? null : (
        <code>
          <Text>{failure.type}</Text>
        </code>
      )}
      {failure.stream === null ? null : <StreamLink stream={failure.stream} />}
      <span class="quiet right">
        {failure.attempts === 0 ? "" : `tried ${count(failure.attempts)}× · `}
        <Ago at={failure.since} />
      </span>
      <p class="cause">
        <Text>{failure.cause}</Text>
      </p>
    </section>
  )
}

const Partitions = ({ follower }: { readonly follower: Follower }) =>
  follower.partitions.length === 0 ? null : (
    <section aria-label="Partitions">
      <h2>Partitions</h2>
      <ul class="partitions">
        {follower.partitions.map(({ index, lag, owner, position, state }) => (
          <li key={index} title={plain(`#${count(position)}, ${owner ?? "nobody"}`)}>
            <b>{index}</b> <Pill state={state} /> <span class="number">{count(lag)} behind</span>
          </li>
        ))}
      </ul>
    </section>
  )

export const FollowerDetail = ({ follower }: { readonly follower: Follower }) => {
  const { name, state } = follower
  const canResume = state === "paused" || state === "halted"
  const runs = !canResume && state !== "stopped" && state !== "unknown"
  return (
    <article class="follower-detail" aria-label="Follower">
      <header class="title">
        <h2>
          <Text>{follower.title}</Text>
        </h2>
        <Pill state={state} />
        <code class="quiet">
          <Text>{name}</Text>
        </code>
        <span class="right">
          {runs || state === "unknown" ? <ActButton act={{ _tag: "Pause", follower: name }} label="Pause" /> : null}
          {canResume || state === "unknown" ? <ActButton act={{ _tag: "Resume", follower: name }} label="Resume" /> : null}
          {follower.owner === null && !follower.here ? (
            <ActButton act={{ _tag: "RemoveFollower", follower: name }} label="Remove" grave />
          ) : null}
        </span>
      </header>
      <div class="machine-and-chart">
        <Machine state={state} />
        <LagChart values={follower.lags} />
      </div>
      <Failure follower={follower} />
      <Partitions follower={follower} />
      {follower.kind === "consumer" || follower.parked === 0 ? null : (
        <section class="parked-here" aria-label="Parked events">
          <h2>Parked events {count(follower.parked)}</h2>
          <ParkedEvents follower={name} />
        </section>
      )}
    </article>
  )
}
