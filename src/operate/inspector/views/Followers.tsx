/** All that follows the log or a transport: those in need first. */
import type { Follower } from "../../Operations.ts"
import { byNeed, followers, head } from "../link/live.ts"
import { choose, route } from "../link/place.ts"
import { Ago, Empty, Pill, Text, Title } from "../parts/basic.tsx"
import { Spark } from "../parts/Chart.tsx"
import { List } from "../parts/List.tsx"
import { rateText } from "../pure/chart.ts"
import { brief, count, plural } from "../pure/text.ts"
import { FollowerDetail } from "./Follower.tsx"

/** A lag from which it is said in amber. */
const muchLag = 1000

const Row = ({ follower }: { readonly follower: Follower }) => (
  <>
    <div class="two-lines">
      <strong>
        <Text>{follower.title}</Text>
      </strong>
      <small>
        {follower.kind}
        {follower.since === null ? null : (
          <>
            {" · "}
            {follower.state.replaceAll("-", " ")} since <Ago at={follower.since} />
          </>
        )}
      </small>
    </div>
    <span>
      <Pill state={follower.state} />
    </span>
    <span class={`number ${follower.lag >= muchLag ? "warm" : ""}`}>{count(follower.lag)}</span>
    <span>
      <Spark values={follower.lags} width={110} height={24} />
    </span>
    <span class="number">{rateText(follower.rate)}/s</span>
    <span class="number">#{count(follower.position)}</span>
    <span class={`number ${follower.parked > 0 ? "bad" : "quiet"}`}>
      {follower.parked >= 1000 ? "1,000+" : count(follower.parked)}
    </span>
    <span class="mono quiet owner">{follower.owner === null ? "nobody" : <Text>{brief(follower.owner)}</Text>}</span>
  </>
)

export const Followers = () => {
  const all = byNeed.value
  const { name } = route.value.params
  const shown = all.find((follower) => follower.name === name) ?? (name === undefined ? all[0] : undefined)
  return (
    <main class="followers">
      <Title name="Followers" more={`${plural(followers.value.length, "follower")} · head #${count(head.value)}`} />
      <div class="table-head follower-row" aria-hidden="true">
        <span>Name</span>
        <span>State</span>
        <span class="number">Behind</span>
        <span>last minute</span>
        <span class="number">Rate</span>
        <span class="number">Position</span>
        <span class="number">Parked</span>
        <span>Owner</span>
      </div>
      <List
        class="follower-list"
        label="Followers"
        rows={all.length}
        rowHeight={44}
        rowClass={() => "follower-row"}
        chosen={shown === undefined ? -1 : all.indexOf(shown)}
        onChoose={(index) => choose({ name: all[index]?.name ?? "" })}
        main
        keyOf={(index) => all[index]?.name ?? index}
        row={(index) => {
          const follower = all[index]
          return follower === undefined ? null : <Row follower={follower} />
        }}
      />
      {shown !== undefined ? (
        <FollowerDetail key={shown.name} follower={shown} />
      ) : (
        <Empty>{name === undefined ? "Nothing follows the log." : "There is no such follower, or not any more."}</Empty>
      )}
    </main>
  )
}
