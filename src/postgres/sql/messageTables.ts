/**
 * The messages, the head (the place of the newest, in one row whose lock orders the publishers), how far each consumer group has gone,
 * and what is in the hand of its members or waits for another try.
 */
export const messageTables: ReadonlyArray<string> = [
  `create table {message} (
     seq bigint primary key,
     published_at timestamptz not null default clock_timestamp(),
     id text collate "C" not null unique,
     type text collate "C" not null,
     body json not null
   ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
  `create table {transport_head} (
     only_row boolean primary key default true check (only_row),
     seq bigint not null
   ) with (fillfactor = 10)`,
  `insert into {transport_head} (seq) values (0)`,
  `create table {consumer_group} (
     name text collate "C" primary key,
     seq bigint not null default 0,
     every_type boolean not null default false,
     types text[] collate "C" not null default '{}'
   ) with (fillfactor = 50)`,
  `create table {delivery} (
     consumer_group text collate "C" not null,
     seq bigint not null,
     type text collate "C" not null,
     asked boolean not null,
     attempts int not null,
     due_at timestamptz not null,
     member text,
     primary key (consumer_group, seq)
   ) with (fillfactor = 70)`,
  `create index on {delivery} (consumer_group, seq) where asked`,
  `create index on {delivery} (seq) where asked`
]

/**
 * Whatever the statistics say: by index, and in its order. A bitmap scan would visit, at each claim, every delivery that has been
 * acknowledged since the last vacuum; an index scan marks them as dead, and passes them by from then on.
 */
export const byIndex =
  "set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan"

/** How many messages are looked through at a time: for those of the wanted types, and for those that are too old. */
export const windowSize = 10_000
