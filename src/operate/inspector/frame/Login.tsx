/** Where a token is given. The server keeps it as a cookie that no script can read. */
import { useState } from "preact/hooks"

export const Login = () => {
  const [problem, setProblem] = useState("")
  const [token, setToken] = useState("")
  const send = async () => {
    const response = await fetch("login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token })
    }).catch(() => undefined)
    if (response?.ok === true) location.reload()
    else setProblem(response === undefined ? "The server does not answer." : "Nobody is known by that token.")
  }
  return (
    <main class="login">
      <form onSubmit={(event) => (event.preventDefault(), void send())}>
        <h1>Who are you?</h1>
        <p class="quiet">This server wants to know its operators. Give the token that you have from whoever runs it.</p>
        <label>
          <span>Token</span>
          <input
            type="password"
            autocomplete="current-password"
            value={token}
            onInput={({ currentTarget }) => setToken(currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary" disabled={token === ""}>
          Go on
        </button>
        {problem === "" ? null : (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
      </form>
    </main>
  )
}
