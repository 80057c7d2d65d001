/** Streams, and the life of the one that is chosen. */
import type { StreamRow } from "../../Operations.ts"
import { useEffect } from "preact/hooks"
import { useAnswer, usePages } from "../link/answer.ts"
import { categories, meet } from "../link/live.ts"
import { choose, route } from "../link/place.ts"
import { Empty, Problem, StreamName, Swatch, Text } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { Stream } from "./Stream.tsx"

/** What the library keeps for itself is shown where it is asked for. */
const isOfDomain = ({ stream }: StreamRow): boolean => !stream.startsWith("$")

/** The categories as buttons: one, or all. */
const Categories = ({ chosen }: { readonly chosen: string }) => (
  <div class="chips" role="group" aria-label="Category">
    {[...categories.value, "$bus", "$command"].map((category) => (
      <button
        key={category}
        type="button"
        class="chip"
        aria-pressed={category === chosen}
        onClick={() => choose({ category: category === chosen ? "" : category })}
      >
        <Swatch category={category} />
        <Text>{category}</Text>
      </button>
    ))}
  </div>
)

/** Streams by newest event, or by name; a search is a prefix. */
const useStreams = () => {
  const { category = "", order = "newest", prefix = "" } = route.value.params
  return usePages(`streams ${JSON.stringify([category, prefix, order])}`, (link, after) =>
    link.Streams({
      order: order === "name" ? "name" : "newest",
      limit: 200,
      ...(category === "" ? {} : { category }),
      ...(prefix === "" ? {} : { prefix }),
      ...(after === undefined ? {} : { after })
    })
  )
}

const Filters = () => {
  const { category = "", order = "newest", prefix = "" } = route.value.params
  return (
    <div class="list-head">
      <div class="list-title">
        <h1>Streams</h1>
        <select
          aria-label="Order"
          value={order}
          onChange={({ currentTarget }) => choose({ order: currentTarget.value === "newest" ? "" : currentTarget.value })}
        >
          <option value="newest">newest</option>
          <option value="name">by name</option>
        </select>
      </div>
      <input
        type="search"
        class="narrow"
        placeholder="Begins with…"
        aria-label="Streams that begin with"
        value={prefix}
        onInput={({ currentTarget }) => choose({ prefix: currentTarget.value }, true)}
      />
      <Categories chosen={category} />
    </div>
  )
}

export const Streams = () => {
  const { category = "", prefix = "", stream } = route.value.params
  const pages = useStreams()
  meet(pages.items.map(({ category }) => category))
  const items = category === "" && prefix === "" ? pages.items.filter(isOfDomain) : pages.items
  // A page of the library's own streams shows nothing: the next one may.
  useEffect(() => {
    if (items.length < 20) pages.load()
  }, [items.length, pages.items.length])
  // The newest is shown until one is chosen; which that is does not change while the page is open.
  const first = useAnswer(stream === undefined ? "first stream" : undefined, (link) =>
    link.Streams({ order: "newest", limit: 1 })
  )
  const shown = stream ?? items[0]?.stream ?? first.value?.items[0]?.stream
  return (
    <main class="streams">
      <section class="side" aria-label="Streams">
        <Filters />
        <Problem>{pages.problem}</Problem>
        {items.length === 0 && !pages.loading ? <Empty>No stream fits.</Empty> : null}
        <List
          label="Streams"
          rows={items.length}
          rowHeight={30}
          chosen={items.findIndex((row) => row.stream === shown)}
          onChoose={(index) => choose({ stream: items[index]?.stream ?? "", version: "" })}
          onEnd={pages.load}
          main
          keyOf={(index) => items[index]?.stream ?? index}
          row={(index) => {
            const row = items[index]
            return row === undefined ? null : (
              <>
                <StreamName stream={row.stream} short={category !== ""} />
                <small class="number">v{row.version}</small>
              </>
            )
          }}
        />
      </section>
      {shown === undefined ? <Empty>There is no stream yet.</Empty> : <Stream key={shown} stream={shown} />}
    </main>
  )
}
