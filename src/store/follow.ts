/**
 * How the followers of this library see a store's subscriptions: by pages that say how far they have been read, so that nothing has to be
 * looked up behind them. It belongs to the function `subscribe`, and not to the service: whoever puts another in its place is asked as
 * anybody else is.
 */
import type * as Arr from "effect/Array"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { EventStoreError } from "./errors.ts"
import type { Page, SubscribeOptions } from "./model.ts"
import type { EventStore } from "./service.ts"

type Store = EventStore["Service"]

/** How the log is followed: as `subscribe` does, page by page. */
interface FollowOptions extends SubscribeOptions {
  /** Whether to tell of having come to the end of the log though nothing more has passed the filter. Default: only of events. */
  readonly tells?: (() => boolean) | undefined
}

export interface Follow {
  /** History, then live, by pages: each says how far it has read, and the head as it was known then. Never ends. */
  readonly follow: (options: FollowOptions) => Stream.Stream<Page, EventStoreError>
  /** The newest position that is known without asking. */
  readonly heard: () => number
}

/** {@link Follow} of the stores that have one, by their `subscribe`: whoever puts another in its place has none. */
const follows = new WeakMap<Store["subscribe"], Follow>()

/** The events of a page that has some. */
const eventsOf = ({ events }: Page) => events as Arr.NonEmptyReadonlyArray<RecordedEvent>
const hasEvents = ({ events }: Page) => events.length > 0

export const subscribeBy = (follow: Follow): Store["subscribe"] => {
  const subscribe: Store["subscribe"] = (options = {}) =>
    Stream.flattenArray(
      Stream.map(Stream.filter(follow.follow({ after: options.after, filter: options.filter }), hasEvents), eventsOf)
    )
  follows.set(subscribe, follow)
  return subscribe
}

export const followOf = ({ subscribe }: Pick<Store, "subscribe">): Follow | undefined => follows.get(subscribe)
