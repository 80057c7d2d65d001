/** All keys, in a box above the page. */
import { useEffect, useRef } from "preact/hooks"
import { helpShown, places } from "./keys.ts"

const keys: ReadonlyArray<readonly [keys: ReadonlyArray<string>, meaning: string]> = [
  [["/"], "search"],
  [["j", "k"], "next and previous row"],
  [["←", "→"], "one version back and on"],
  [["Home", "End"], "first and newest version, on the slider"],
  [["Tab", "Enter"], "the next thing, and follow it"],
  [["Esc"], "leave a field, close this"],
  ...Object.entries(places).map(([key, view]) => [["g", key], view] as const)
]

export const Help = () => {
  const box = useRef<HTMLDialogElement>(null)
  const shown = helpShown.value
  useEffect(() => {
    if (shown) box.current?.showModal()
    else box.current?.close()
  }, [shown])
  return (
    <dialog
      ref={box}
      class="help"
      aria-label="Keys"
      onClose={() => (helpShown.value = false)}
      onClick={() => (helpShown.value = false)}
    >
      <h2>Keys</h2>
      <dl>
        {keys.map(([names, meaning]) => (
          <div key={names.join(" ")}>
            <dt>
              {names.map((name) => (
                <kbd key={name}>{name}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  )
}
