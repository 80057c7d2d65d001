/**
 * What a role needs to use the tables, and nothing that it does not need: statements for each module. `{role}` stands for the role, and
 * all else as in every text of this folder. What makes or updates tables is left to the role that owns the schema.
 */
export const grants = {
  store: [
    `grant select, insert on {event}, {tag} to {role}`,
    `grant select on {migration} to {role}`,
    `grant select on {chain} to {role}`,
    `grant execute on function {append_batch}, {append_event}, {append_one}, {append_lock}, {newest_match}, {newest_position}, {events_stand}, {flush_commits} to {role}`
  ],
  checkpoints: [
    `grant select, insert, update on {checkpoint}, {projection_version} to {role}`,
    `grant select, insert, delete on {deadline} to {role}`
  ],
  snapshots: [`grant select, insert, update, delete on {snapshot} to {role}`],
  parkedEvents: [`grant select, insert, update, delete on {parked_event} to {role}`],
  inbox: [`grant select, insert, delete on {inbox} to {role}`],
  deadLetters: [`grant select, insert, update, delete on {dead_letter} to {role}`],
  retention: [`grant execute on function {tombstone} to {role}`],
  operations: [`grant select, insert, update, delete on {operation} to {role}`],
  answers: [`grant select, insert, delete on {answer} to {role}`],
  keys: [`grant select, insert, update on {personal_key} to {role}`],
  transport: [
    `grant select, insert, delete on {message} to {role}`,
    `grant select, update on {transport_head} to {role}`,
    `grant select, insert, update on {consumer_group} to {role}`,
    `grant select, insert, update, delete on {delivery} to {role}`,
    `grant select on {transport_migration} to {role}`,
    `grant execute on function {claim}, {settle} to {role}`
  ]
} as const satisfies Readonly<Record<string, ReadonlyArray<string>>>
