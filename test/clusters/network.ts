/** A network of machines, each with an address of its own, as far as Linux lets this process make one: by network namespaces. */
import { execFileSync } from "node:child_process"
import { randomInt } from "node:crypto"

interface Machine {
  readonly address: string
  /** The command that runs another one on it. */
  readonly command: ReadonlyArray<string>
  /** Nothing passes between it and the other machines, in either direction, and nobody is told; it hears and answers this process. */
  readonly cutOff: () => void
  readonly heal: () => void
}

export interface Network {
  readonly machines: ReadonlyArray<Machine>
  readonly dispose: () => void
}

const ip = (line: string) => void execFileSync("ip", line.split(" "), { stdio: "pipe" })

/** `undefined` where this process may not: that takes Linux, `ip`, and the right to administer the network. */
export const makeNetwork = (count: number): Network | undefined => {
  const id = `ef${randomInt(2 ** 24).toString(16)}`
  const subnet = `10.${200 + randomInt(50)}.${randomInt(250)}`
  const spaces = Array.from({ length: count }, (_, index) => `${id}-${index}`)
  const addresses = spaces.map((_, index) => `${subnet}.${index + 1}`)
  const dispose = () => {
    const links = [id, ...spaces.map((_, index) => `${id}v${index}`)].map((link) => `link del ${link}`)
    for (const line of [...spaces.map((space) => `netns del ${space}`), ...links]) {
      try {
        ip(line)
      } catch {
        // It has not been made.
      }
    }
  }
  try {
    ip(`link add ${id} type bridge`)
    ip(`addr add ${subnet}.254/24 dev ${id}`)
    ip(`link set ${id} up`)
    for (const [index, space] of spaces.entries()) {
      ip(`netns add ${space}`)
      ip(`link add ${id}v${index} type veth peer name eth0 netns ${space}`)
      ip(`link set ${id}v${index} master ${id} up`)
      ip(`-n ${space} addr add ${addresses[index]}/24 dev eth0`)
      ip(`-n ${space} link set lo up`)
      ip(`-n ${space} link set eth0 up`)
    }
  } catch {
    dispose()
    return undefined
  }
  /** Of each machine, whether it speaks to the other: what it sends to a hardware address that nobody has is lost on the way. */
  const each = (index: number, change: (space: string, address: string) => string) => {
    for (const [other, space] of spaces.entries()) {
      if (other === index) continue
      ip(change(space, addresses[index] ?? ""))
      ip(change(spaces[index] ?? "", addresses[other] ?? ""))
    }
  }
  return {
    machines: addresses.map((address, index) => ({
      address,
      command: ["ip", "netns", "exec", spaces[index] ?? ""],
      cutOff: () => each(index, (space, to) => `-n ${space} neigh replace ${to} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`),
      heal: () => each(index, (space, to) => `-n ${space} neigh del ${to} dev eth0`)
    })),
    dispose
  }
}
