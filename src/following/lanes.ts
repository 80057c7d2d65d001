/**
 * Sorts things into groups of which several may be done at once: those that have a lane in common, directly or through others, are in one
 * group. The groups come in the order of their first members, and the members of each in the order in which they were given.
 */
export const groupByLanes = <A>(
  all: ReadonlyArray<A>,
  lanesOf: (one: A) => ReadonlyArray<string>
): ReadonlyArray<ReadonlyArray<A>> => {
  /** By lane another one of the same group, or itself where it stands for its group. */
  const parents = new Map<string, string>()
  const find = (lane: string): string => {
    let root = lane
    for (let parent = parents.get(root); parent !== undefined && parent !== root; parent = parents.get(root)) root = parent
    parents.set(lane, root)
    return root
  }
  const firsts = all.map((one) => {
    const [first = "", ...others] = lanesOf(one)
    const root = find(first)
    parents.set(root, root)
    for (const other of others) parents.set(find(other), root)
    return first
  })
  const groups = Map.groupBy(all.entries(), ([index]) => find(firsts[index] ?? ""))
  return Array.from(groups.values(), (members) => members.map(([, one]) => one))
}
