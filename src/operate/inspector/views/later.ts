/** The views that are loaded after the first: the page stands before they are there. */
import type { JSX } from "preact"
import type { View } from "../pure/route.ts"
import { Help } from "../frame/Help.tsx"
import { Login } from "../frame/Login.tsx"
import { Conversations } from "./Conversations.tsx"
import { Followers } from "./Followers.tsx"
import { MapView } from "./Map.tsx"
import { OperationsView } from "./OperationsView.tsx"
import { Parked } from "./Parked.tsx"
import { Processes } from "./Processes.tsx"
import { Projections } from "./Projections.tsx"

export const later: Readonly<Partial<Record<View | "help" | "login", () => JSX.Element>>> = {
  conversations: Conversations,
  followers: Followers,
  parked: Parked,
  projections: Projections,
  processes: Processes,
  map: MapView,
  operations: OperationsView,
  help: Help,
  login: Login
}
