import { survivesKills } from "../support/crash.ts"

survivesKills("sqlite")
