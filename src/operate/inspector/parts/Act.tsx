/** A button that asks for an act. Where operators may only look there is none. */
import { useEffect, useState } from "preact/hooks"
import type { Act } from "../../Operations.ts"
import { keyOf, perform, underWay, wordsOf } from "../link/acts.ts"
import { overview } from "../link/live.ts"
import { plain } from "../pure/text.ts"

interface Options {
  readonly act: Act
  readonly label: string
  /** What cannot be taken back is asked for twice. */
  readonly grave?: boolean
  readonly onDone?: () => void
}

export const ActButton = ({ act, grave = false, label, onDone }: Options) => {
  const [sure, setSure] = useState(false)
  const key = keyOf(act)
  useEffect(() => {
    if (!sure) return
    const timer = setTimeout(() => setSure(false), 4000)
    return () => clearTimeout(timer)
  }, [sure])
  if (overview.value?.mayAct !== true) return null
  const busy = underWay.value.has(key)
  const click = () => {
    if (busy) return
    if (grave && !sure) return setSure(true)
    setSure(false)
    perform(act, () => onDone?.())
  }
  return (
    <button
      type="button"
      class={grave ? "grave" : ""}
      data-sure={sure}
      aria-disabled={busy}
      aria-label={plain(sure ? `Really? ${wordsOf(act)}` : wordsOf(act))}
      data-act={act._tag}
      onClick={click}
      onBlur={() => setSure(false)}
    >
      {busy ? "…" : sure ? "Really?" : label}
    </button>
  )
}
