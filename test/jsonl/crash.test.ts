import { survivesKills } from "../support/crash.ts"

survivesKills("jsonl")
