/** The events and their tags. */
export const eventTables: ReadonlyArray<string> = [
  `create table {event} (
    position bigint not null,
    version bigint not null,
    recorded_at timestamptz not null,
    schema_version int not null,
    published boolean not null,
    stream text collate "C" not null,
    id text collate "C" not null,
    type text collate "C" not null,
    tags text[] collate "C" not null,
    payload json not null,
    metadata json not null,
    constraint "{prefix}event_pkey" primary key (position),
    constraint "{prefix}event_stream_version_key" unique (stream, version),
    constraint "{prefix}event_id_key" unique (id)
  ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
  `create table {tag} (
    tag text collate "C" not null,
    position bigint not null,
    primary key (tag, position)
  )`
]
