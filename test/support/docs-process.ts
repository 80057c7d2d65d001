/** Imports the modules whose paths it is sent, and answers each with `{}` or with the error that it threw. */
process.on("message", (path: string) => {
  import(path).then(
    () => process.send?.({}),
    (error: unknown) => process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  )
})
