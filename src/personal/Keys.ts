/**
 * The keys that personal data are sealed with: one a subject. See `Personal`.
 *
 * @since 0.2.0
 */
export { Keys, type KeysError, KeysUnavailable, type Standing, type SubjectKey, WrongMasterKey } from "./subjectKeys.ts"
export { layerMemory } from "./keysMemory.ts"
export { layerSql, rewrap, type SqlOptions } from "./keysSql.ts"
export { type Masters, masters, type Wrapping } from "./masters.ts"
