/** The life of a follower, drawn: the states that it can be in, and the ways between them. */
export type State = "starting" | "standby" | "catching-up" | "live" | "backing-off" | "paused" | "halted" | "stopped"

/** Column and row of each state in the drawing. */
export const places: Readonly<Record<State, readonly [column: number, row: number]>> = {
  starting: [0, 0],
  standby: [0, 1],
  "catching-up": [1, 0],
  paused: [1, 1],
  live: [2, 0],
  "backing-off": [2, 1],
  stopped: [3, 0],
  halted: [3, 1]
}

export const ways: ReadonlyArray<readonly [from: State, to: State]> = [
  ["starting", "standby"],
  ["starting", "catching-up"],
  ["standby", "catching-up"],
  ["catching-up", "live"],
  ["catching-up", "paused"],
  ["live", "paused"],
  ["live", "backing-off"],
  ["backing-off", "halted"],
  ["live", "stopped"]
]

const box = { width: 104, height: 28, across: 150, down: 46 }

export const size = { width: 3 * box.across + box.width + 2, height: box.down + box.height + 2 }

/** Where a state's box stands. */
export const boxOf = (state: State) => {
  const [column, row] = places[state]
  return { x: 1 + column * box.across, y: 1 + row * box.down, width: box.width, height: box.height }
}

/** The line between two boxes, from edge to edge. */
export const lineOf = (from: State, to: State) => {
  const a = boxOf(from)
  const b = boxOf(to)
  const across = Math.sign(b.x - a.x)
  const down = Math.sign(b.y - a.y)
  const edge = (at: typeof a, across: number, down: number) => ({
    x: at.x + (across === 0 ? at.width / 2 : across > 0 ? at.width : 0),
    y: at.y + (across !== 0 ? at.height / 2 : down > 0 ? at.height : 0)
  })
  return { from: edge(a, across, down), to: edge(b, -across, -down) }
}
