/** How a follower reads the log that it follows. */
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { followOf } from "../store/follow.ts"
import { isTombstone } from "../store/tombstone.ts"
import type { Following } from "./body.ts"
import type { Log } from "./progress.ts"

/** What has not been removed: no handler gets a tombstone, and its position is passed by. */
export const standing = (events: ReadonlyArray<RecordedEvent>): ReadonlyArray<RecordedEvent> =>
  events.some(isTombstone) ? events.filter((event) => !isTombstone(event)) : events

/**
 * Reads what passes the filter of a log. Where the store tells with each page how far it has read and how far the log is, nothing has to be
 * looked up behind a page.
 */
export const readingOf = ({ filter, store }: Log): Pick<Following<RecordedEvent, EventStoreError>, "read" | "heard"> => {
  const following = followOf(store)
  if (following === undefined) {
    return {
      read: (after, arrived) =>
        Stream.runForEachArray(store.subscribe({ after, filter }), (page) => arrived(standing(page), page.at(-1)?.position ?? 0))
    }
  }
  return {
    read: (after, arrived, tells) =>
      Stream.runForEach(following.follow({ after, filter, tells }), ({ events, head, position }) =>
        arrived(standing(events), position, head)
      ),
    heard: following.heard
  }
}
