-- Read models: data_ingestion_run_records, which run touched which record, and how: the provenance; and
-- record_versions, each record's contents one after the other, each valid from the position that brought it
-- to the position that replaced it; the open one is what `ingest` compares with.
-- after: data_ingestion_run_ends
--
-- Both in one fold, since an event's operation, where the script did not declare it, is what the event made
-- of the record: a first version (created), another one (updated), or none (skipped). An event makes a
-- version when it is the first to name the record, when its content differs from what was known, or when
-- it declares a change without giving content (then the content is unknown).
--
-- The first touch of a record in a run makes the run's row; a later touch can only raise the operation
-- (created outranks updated, which outranks skipped), and only until the run's end.

-- name: ddl
CREATE TABLE data_ingestion_run_records (
    id                    bigint           NOT NULL,
    data_ingestion_run_id bigint           NOT NULL,
    record_type           text COLLATE "C" NOT NULL,
    record_id             text COLLATE "C" NOT NULL,
    operation             text             NOT NULL,
    created_at            timestamptz      NOT NULL,
    updated_at            timestamptz      NOT NULL,
    CONSTRAINT data_ingestion_run_records_pkey PRIMARY KEY (id),
    CONSTRAINT data_ingestion_run_records_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT data_ingestion_run_records_operation CHECK (operation IN ('created', 'updated', 'skipped'))
);
CREATE INDEX idx_dir_records_on_run_and_time ON data_ingestion_run_records (data_ingestion_run_id, created_at);
CREATE UNIQUE INDEX idx_dir_records_on_record_and_run
    ON data_ingestion_run_records (record_type, record_id, data_ingestion_run_id);
COMMENT ON TABLE  data_ingestion_run_records                       IS 'Which run touched which record, and how.';
COMMENT ON COLUMN data_ingestion_run_records.id                    IS 'Position of the run''s first event about the record.';
COMMENT ON COLUMN data_ingestion_run_records.data_ingestion_run_id IS 'The run.';
COMMENT ON COLUMN data_ingestion_run_records.record_type           IS 'Kind of record, e.g. QuiverTrade.';
COMMENT ON COLUMN data_ingestion_run_records.record_id             IS 'The record''s id at its source, as text.';
COMMENT ON COLUMN data_ingestion_run_records.operation             IS 'created, updated or skipped.';
COMMENT ON COLUMN data_ingestion_run_records.created_at            IS 'recorded_at of the run''s first event about the record.';
COMMENT ON COLUMN data_ingestion_run_records.updated_at            IS 'recorded_at of the event that raised the operation last.';
CREATE TABLE record_versions (
    id                    bigint           NOT NULL,
    record_type           text COLLATE "C" NOT NULL,
    record_id             text COLLATE "C" NOT NULL,
    operation             text             NOT NULL,
    content               text COLLATE "C",
    data_ingestion_run_id bigint           NOT NULL,
    to_position           bigint,
    created_at            timestamptz      NOT NULL,
    updated_at            timestamptz      NOT NULL,
    CONSTRAINT record_versions_pkey PRIMARY KEY (id),
    CONSTRAINT record_versions_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT record_versions_operation CHECK (operation IN ('created', 'updated')),
    CONSTRAINT record_versions_interval CHECK (to_position > id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX idx_record_versions_on_record ON record_versions (record_type, record_id, id);
CREATE INDEX idx_record_versions_on_run ON record_versions (data_ingestion_run_id);
COMMENT ON TABLE  record_versions                       IS 'The versions of each record''s content.';
COMMENT ON COLUMN record_versions.id                    IS 'Position of the event that brought this version: valid from here.';
COMMENT ON COLUMN record_versions.record_type           IS 'Kind of record, e.g. QuiverTrade.';
COMMENT ON COLUMN record_versions.record_id             IS 'The record''s id at its source, as text.';
COMMENT ON COLUMN record_versions.operation             IS 'created for the first version of a record, updated for each later one.';
COMMENT ON COLUMN record_versions.content               IS 'Commitment of the content (bodies); NULL where it was not given.';
COMMENT ON COLUMN record_versions.data_ingestion_run_id IS 'The run that brought it.';
COMMENT ON COLUMN record_versions.to_position           IS 'Position of the version that replaced it; NULL for the latest.';
COMMENT ON COLUMN record_versions.created_at            IS 'recorded_at of the event that brought it.';
COMMENT ON COLUMN record_versions.updated_at            IS 'recorded_at of the event that changed the row last.';

-- name: fold
-- touches: the range's events. late: after the end of their run. fresh: there can be no row of that run and
-- record yet, as the run began in this range or, below, the record was never heard of before; those need no
-- look for a conflict, which costs as much as half the row.
-- known: with the version that is open before the range, and whether the event says what the content is.
-- changes: of those that do (`sets`), whether that is new. news: when the next new content replaces it.
-- closed: always conflicts, and so is a look-up of the open version whatever the planner believes; a join
-- may turn into a scan. Of the row offered, only the two columns that are set count.
-- decided, firsts: the touches as rows, and those of one run and record made one.
WITH touches AS (
    SELECT e.position, e.recorded_at, CASE WHEN r.id < e.position THEN r.id END AS data_ingestion_run_id,
           e.record_type, e.record_id, e.operation, e.content,
           e.position > f.id IS TRUE AS late,
           r.id > :after             AS fresh,
           row_number() OVER (PARTITION BY e.record_id, e.record_type ORDER BY e.position) = 1 AS first_here
      FROM record_ingested e
      LEFT JOIN data_ingestion_runs r ON r.run_id = e.run_id
      LEFT JOIN data_ingestion_run_ends f ON f.data_ingestion_run_id = r.id AND f.first
     WHERE e.position > :after AND e.position <= :upto
), known AS (
    SELECT t.*, v.id AS open_id, v.content AS open_content, t.first_here AND v.id IS NULL AS first_ever,
           (t.content IS NOT NULL OR t.operation <> 'skipped' OR t.first_here AND v.id IS NULL) IS TRUE AS sets
      FROM touches t
      LEFT JOIN LATERAL (
           SELECT v.id, v.content FROM record_versions v
            WHERE v.record_type = t.record_type AND v.record_id = t.record_id
            ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) v ON true
), changes AS (
    SELECT k.*, k.sets AND (k.first_ever OR k.content IS NULL OR k.content IS DISTINCT FROM
                            lag(k.content, 1, k.open_content) OVER w) AS is_new
      FROM known k
    WINDOW w AS (PARTITION BY k.record_id, k.record_type, k.sets ORDER BY k.position ROWS UNBOUNDED PRECEDING)
), news AS (
    SELECT c.*, lead(c.position)    OVER w AS to_position,
                lead(c.recorded_at) OVER w AS replaced_at,
                row_number()        OVER w = 1 AS closes_open
      FROM changes c
     WHERE c.is_new
    WINDOW w AS (PARTITION BY c.record_id, c.record_type, c.sets ORDER BY c.position ROWS UNBOUNDED PRECEDING)
), closed AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, data_ingestion_run_id, to_position, created_at, updated_at)
    SELECT n.open_id, n.record_type, n.record_id, 'updated', 0, n.position, n.recorded_at, n.recorded_at
      FROM news n
     WHERE n.closes_open AND n.open_id IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET to_position = excluded.to_position, updated_at = excluded.updated_at
), versions AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, content, data_ingestion_run_id, to_position, created_at, updated_at)
    SELECT n.position, n.record_type, n.record_id, CASE WHEN n.first_ever THEN 'created' ELSE 'updated' END,
           n.content, n.data_ingestion_run_id, n.to_position, n.recorded_at, coalesce(n.replaced_at, n.recorded_at)
      FROM news n
     ORDER BY n.position
), decided AS (
    SELECT c.position, c.recorded_at, c.data_ingestion_run_id, c.record_type, c.record_id,
           coalesce(c.operation, CASE WHEN c.first_ever THEN 'created'
                                      WHEN c.is_new     THEN 'updated' ELSE 'skipped' END) AS operation,
           c.late, c.fresh OR c.first_ever AS fresh
      FROM changes c
), late AS (
    INSERT INTO data_ingestion_run_records
           (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
    SELECT DISTINCT ON (d.data_ingestion_run_id, d.record_type, d.record_id)
           d.position, d.data_ingestion_run_id, d.record_type, d.record_id, d.operation, d.recorded_at, d.recorded_at
      FROM decided d
     WHERE d.late
     ORDER BY d.data_ingestion_run_id, d.record_type, d.record_id, d.position
    ON CONFLICT (record_type, record_id, data_ingestion_run_id) DO NOTHING
), firsts AS (
    SELECT t.id, t.data_ingestion_run_id, t.record_type, t.record_id,
           CASE WHEN t.wrong IS NOT NULL THEN t.wrong
                WHEN t.created_at IS NOT NULL THEN 'created'
                WHEN t.updated_at IS NOT NULL THEN 'updated'
                ELSE 'skipped' END AS operation,
           t.first_at AS created_at, coalesce(t.created_at, t.updated_at, t.first_at) AS updated_at, t.fresh
      FROM (SELECT min(position) AS id, data_ingestion_run_id, record_type, record_id,
                   min(recorded_at) AS first_at,
                   min(recorded_at) FILTER (WHERE operation = 'created') AS created_at,
                   min(recorded_at) FILTER (WHERE operation = 'updated') AS updated_at,
                   min(operation)   FILTER (WHERE operation NOT IN ('created', 'updated', 'skipped')) AS wrong,
                   bool_or(fresh)   AS fresh
              FROM decided
             WHERE NOT late
             GROUP BY data_ingestion_run_id, record_id, record_type) t
), fresh AS (
    INSERT INTO data_ingestion_run_records
           (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
    SELECT f.id, f.data_ingestion_run_id, f.record_type, f.record_id, f.operation, f.created_at, f.updated_at
      FROM firsts f
     WHERE f.fresh
     ORDER BY f.id
)
INSERT INTO data_ingestion_run_records AS old
       (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
SELECT f.id, f.data_ingestion_run_id, f.record_type, f.record_id, f.operation, f.created_at, f.updated_at
  FROM firsts f
 WHERE f.fresh IS NOT TRUE
ON CONFLICT (record_type, record_id, data_ingestion_run_id) DO UPDATE
   SET operation = excluded.operation, updated_at = excluded.updated_at
 WHERE old.operation = 'skipped' AND excluded.operation <> 'skipped'
    OR old.operation = 'updated' AND excluded.operation = 'created';
