/** The SQL of checkpoints and of the registry of projection versions. All times are milliseconds since the epoch. */
import type { CheckpointStatements } from "../store/kit/index.ts"

export const makeCheckpointSql = (prefix: string) => {
  const checkpoint = `${prefix}checkpoint`
  const version = `${prefix}projection_version`
  return {
    createCheckpoints: [
      `CREATE TABLE ${checkpoint} (
        name TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        owner TEXT,
        expires_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID`
    ],
    createVersions: createVersions(checkpoint, version),
    /** What a checkpoint's owner had seen: unknown of those that stand. */
    addSeen: [`ALTER TABLE ${checkpoint} ADD COLUMN seen TEXT`],
    createDeadlines: createDeadlines(checkpoint, `${prefix}deadline`),
    /** Whether whoever follows under a name is to begin nothing. */
    addPaused: [`ALTER TABLE ${checkpoint} ADD COLUMN paused INTEGER NOT NULL DEFAULT 0`],
    statements: {
      ...statementsOf(checkpoint),
      ...versionStatementsOf(version),
      ...deadlineStatementsOf(`${prefix}deadline`)
    } satisfies CheckpointStatements
  }
}

const isNumber = (text: string) => `${text} GLOB '[1-9]*' AND ${text} NOT GLOB '*[^0-9]*' AND length(${text}) <= 16`

/**
 * Makes the registry of projection versions, out of what 0.1.0 kept in checkpoints: the owner of `projection:<name>` was the active
 * version, the position of `projection:<name>@<version>` what had been heard of, and its owner the target, `inline` or `dropped`.
 *
 * A program of 0.1.0 that still runs knows nothing of the registry. Its projections are fenced here, and a claim of theirs, which
 * cannot tell its format, is refused by name; all else that it follows goes on.
 */
const createVersions = (checkpoint: string, version: string): ReadonlyArray<string> => {
  const number = "substr(name, instr(name, '@') + 1)"
  const isVersion = `name GLOB 'projection:?*@*' AND ${isNumber(number)}`
  const isPointer = `name GLOB 'projection:?*' AND instr(name, '@') = 0 AND ${isNumber("owner")}`
  return [
    // A name that was removed keeps its epoch, so that a lease from before stays fenced.
    `ALTER TABLE ${checkpoint} ADD COLUMN removed INTEGER NOT NULL DEFAULT 0`,
    `ALTER TABLE ${checkpoint} ADD COLUMN format INTEGER NOT NULL DEFAULT 1`,
    `CREATE TABLE ${version} (
      projection TEXT NOT NULL,
      version INTEGER NOT NULL,
      mode TEXT NOT NULL CHECK (mode IN ('async', 'inline', 'dropped')),
      active INTEGER NOT NULL,
      target INTEGER,
      heard INTEGER NOT NULL,
      revision INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      PRIMARY KEY (projection, version)
    ) STRICT, WITHOUT ROWID`,
    `CREATE UNIQUE INDEX ${version}_active ON ${version} (projection) WHERE active`,
    `INSERT INTO ${version} (projection, version, mode, active, target, heard, revision, updated_at)
     SELECT substr(name, 12, instr(name, '@') - 12), CAST(${number} AS INTEGER), iif(owner IN ('inline', 'dropped'), owner, 'async'), 0,
            iif(${isNumber("owner")}, CAST(owner AS INTEGER), NULL), position, 1, updated_at
       FROM ${checkpoint} WHERE ${isVersion}`,
    `INSERT INTO ${version} AS v (projection, version, mode, active, target, heard, revision, updated_at)
     SELECT substr(name, 12), CAST(owner AS INTEGER), 'async', 1, NULL, 0, 1, updated_at FROM ${checkpoint}
      WHERE ${isPointer}
     ON CONFLICT (projection, version) DO UPDATE SET active = 1, mode = iif(v.mode = 'dropped', 'async', v.mode)`,
    `DELETE FROM ${checkpoint} WHERE (${isVersion}) OR (${isPointer})`,
    `UPDATE ${checkpoint} SET owner = NULL WHERE name GLOB 'subscription:projection:*'`,
    `CREATE TRIGGER ${checkpoint}_no_old_program BEFORE INSERT ON ${checkpoint}
     WHEN NEW.format < 2 AND (NEW.name GLOB 'projection:*' OR NEW.name GLOB 'subscription:projection:*')
     BEGIN SELECT RAISE(ABORT, 'a later release of eventfold keeps the versions of projections in a table of their own: end the programs of eventfold 0.1 that run projections'); END`
  ]
}

/**
 * Makes the table of the deadlines that are set. It is filled by the watches over them, from the log.
 *
 * A watch of eventfold 0.1 would begin at a checkpoint that has passed them, and let none of them come: its claim, which cannot tell its format,
 * is refused by name.
 */
const createDeadlines = (checkpoint: string, deadline: string): ReadonlyArray<string> => [
  `CREATE TABLE ${deadline} (
    checkpoint TEXT NOT NULL,
    stream TEXT NOT NULL,
    type TEXT NOT NULL,
    due INTEGER NOT NULL,
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (checkpoint, stream, type)
  ) STRICT`,
  `CREATE INDEX ${deadline}_due ON ${deadline} (checkpoint, due, position)`,
  `CREATE TRIGGER ${checkpoint}_no_old_watch BEFORE INSERT ON ${checkpoint}
   WHEN NEW.format < 2 AND NEW.name GLOB 'deadlines:*'
   BEGIN SELECT RAISE(ABORT, 'a later release of eventfold keeps the deadlines that are set in a table of their own: end the programs of eventfold 0.1 that run process managers'); END`
]

/** Those who only read see nothing of a name that was removed. */
const statementsOf = (checkpoint: string) => {
  const columns = "name, position, epoch, owner, expires_at, updated_at, seen, paused"
  return {
    claim: `
      INSERT INTO ${checkpoint} AS c (name, position, epoch, owner, expires_at, updated_at, format)
      VALUES (?1, ?3, 1, ?2, ?4 + ?5, ?5, 2)
      ON CONFLICT (name) DO UPDATE
         SET epoch = c.epoch + 1, owner = excluded.owner, expires_at = excluded.expires_at, updated_at = excluded.updated_at, format = 2,
             removed = 0, position = iif(c.removed, excluded.position, c.position), paused = iif(c.removed, 0, c.paused)
       WHERE c.owner IS NULL OR c.owner = excluded.owner OR c.expires_at <= excluded.updated_at
      RETURNING epoch, position, seen, paused`,
    renew: `UPDATE ${checkpoint} SET expires_at = ?3 + ?4 WHERE name = ?1 AND epoch = ?2 AND owner IS NOT NULL RETURNING 1`,
    advance: `
      UPDATE ${checkpoint} SET position = ?4, seen = ?5, expires_at = ?6 + ?7, updated_at = ?7
       WHERE name = ?1 AND epoch = ?2 AND owner IS NOT NULL AND position = ?3 RETURNING 1`,
    release: `UPDATE ${checkpoint} SET owner = NULL WHERE name = ?1 AND epoch = ?2`,
    pause: `UPDATE ${checkpoint} SET paused = ?2 WHERE name = ?1 AND NOT removed RETURNING 1`,
    lock: `SELECT ${columns} FROM ${checkpoint} WHERE name = ?1 AND NOT removed`,
    reset: `
      INSERT INTO ${checkpoint} AS c (name, position, epoch, owner, expires_at, updated_at, format) VALUES (?1, ?2, 1, NULL, ?3, ?3, 2)
      ON CONFLICT (name) DO UPDATE
         SET position = excluded.position, epoch = c.epoch + 1, owner = NULL, expires_at = excluded.expires_at,
             updated_at = excluded.updated_at, format = 2, paused = iif(c.removed, 0, c.paused), removed = 0, seen = NULL`,
    remove: `
      UPDATE ${checkpoint} SET owner = NULL, position = 0, seen = NULL, removed = 1, expires_at = ?3, updated_at = ?3
       WHERE name = ?1 AND NOT removed AND (?2 = 1 OR owner IS NULL OR expires_at <= ?3) RETURNING 1`,
    get: `SELECT ${columns} FROM ${checkpoint} WHERE name = ?1 AND NOT removed`,
    list: `SELECT ${columns} FROM ${checkpoint} WHERE NOT removed ORDER BY name`
  }
}

const versionStatementsOf = (version: string) => {
  const columns = "projection, version, mode, active, target, heard, revision, updated_at"
  return {
    version: `SELECT ${columns} FROM ${version} WHERE projection = ?1 AND version = ?2`,
    versionsOf: `SELECT ${columns} FROM ${version} WHERE projection = ?1 ORDER BY version`,
    versions: `SELECT ${columns} FROM ${version} ORDER BY projection, version`,
    insertVersion: `
      INSERT INTO ${version} (projection, version, mode, active, target, heard, revision, updated_at) VALUES (?1, ?2, ?3, 0, ?4, ?5, 1, ?6)
      ON CONFLICT (projection, version) DO NOTHING RETURNING 1`,
    updateVersion: `
      UPDATE ${version}
         SET mode = ?3, active = active AND ?3 <> 'dropped', target = ?4, heard = ?5, revision = revision + 1, updated_at = ?7
       WHERE projection = ?1 AND version = ?2 AND revision = ?6 RETURNING 1`,
    lockActive: `SELECT 1 FROM ${version} WHERE projection = ?1 AND version = ?2 AND active`,
    deactivate: `
      UPDATE ${version} SET active = 0, revision = revision + 1, updated_at = ?3
       WHERE projection = ?1 AND version = ?2 AND active RETURNING 1`,
    activate: `
      INSERT INTO ${version} AS v (projection, version, mode, active, target, heard, revision, updated_at)
      VALUES (?1, ?2, 'async', 1, NULL, 0, 1, ?3)
      ON CONFLICT (projection, version) DO UPDATE
         SET active = 1, mode = iif(v.mode = 'dropped', 'async', v.mode), revision = v.revision + 1, updated_at = excluded.updated_at
       WHERE NOT v.active
      RETURNING 1`
  }
}

const deadlineStatementsOf = (deadline: string) => ({
  dropDeadlines: `
    DELETE FROM ${deadline} WHERE rowid IN (
      SELECT d.rowid FROM json_each(?2) AS c CROSS JOIN ${deadline} AS d
        ON d.checkpoint = ?1 AND d.stream = c.value ->> '$.stream' AND d.type = c.value ->> '$.type'
           AND (c.value ->> '$.id' IS NULL OR c.value ->> '$.id' = d.id))`,
  keepDeadlines: `
    INSERT INTO ${deadline} (checkpoint, stream, type, due, position, id)
    SELECT ?1, value ->> '$.stream', value ->> '$.type', value ->> '$.due', value ->> '$.position', value ->> '$.id' FROM json_each(?2)`,
  dueDeadlines: `
    SELECT stream, type, due, position, id FROM ${deadline}
     WHERE checkpoint = ?1 AND (due, position) > (?2, ?3) AND due <= ?4 ORDER BY due, position LIMIT ?5`,
  clearDeadlines: `DELETE FROM ${deadline} WHERE checkpoint = ?1`
})
