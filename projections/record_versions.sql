-- Read model: record_versions. Each record's contents one after the other, each valid from the
-- position that brought it to the position that replaced it; the open one is what `ingest` compares with.
-- after: data_ingestion_runs
--
-- An event makes a version when it is the first to name the record, when its content differs from what
-- was known, or when it declares a change without giving content (then the content is unknown).

-- name: ddl
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
-- touches: the range, each with whether it is the record's first ever, and the version open before it.
-- changes: those that set the content. News: those that set it to something else.
-- closed: always conflicts, and so is a look-up of the open version whatever the planner believes; a join
-- may turn into a scan. Of the row offered, only the two columns that are set count.
WITH touches AS (
    SELECT e.position, e.recorded_at, e.run_id, e.record_type, e.record_id, e.operation, e.content,
           row_number() OVER (PARTITION BY e.record_id, e.record_type ORDER BY e.position) = 1 AS first_here
      FROM record_ingested e
     WHERE e.position > :after AND e.position <= :upto
), changes AS (
    SELECT t.*, v.id AS open_id,
           lag(t.content, 1, v.content) OVER w AS content_before,
           t.first_here AND v.id IS NULL       AS first_ever
      FROM touches t
      LEFT JOIN LATERAL (
           SELECT v.id, v.content FROM record_versions v
            WHERE v.record_type = t.record_type AND v.record_id = t.record_id
            ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) v ON true
     WHERE t.content IS NOT NULL OR t.operation <> 'skipped' OR t.first_here AND v.id IS NULL
    WINDOW w AS (PARTITION BY t.record_id, t.record_type ORDER BY t.position)
), news AS (
    SELECT c.*, lead(c.position)    OVER w AS to_position,
                lead(c.recorded_at) OVER w AS replaced_at,
                row_number()        OVER w = 1 AS closes_open
      FROM changes c
     WHERE c.first_ever OR c.content IS NULL OR c.content IS DISTINCT FROM c.content_before
    WINDOW w AS (PARTITION BY c.record_id, c.record_type ORDER BY c.position)
), closed AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, data_ingestion_run_id, to_position, created_at, updated_at)
    SELECT n.open_id, n.record_type, n.record_id, 'updated', 0, n.position, n.recorded_at, n.recorded_at
      FROM news n
     WHERE n.closes_open AND n.open_id IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET to_position = excluded.to_position, updated_at = excluded.updated_at
)
INSERT INTO record_versions
       (id, record_type, record_id, operation, content, data_ingestion_run_id, to_position, created_at, updated_at)
SELECT n.position, n.record_type, n.record_id,
       CASE WHEN n.first_ever THEN 'created' ELSE 'updated' END,
       n.content, CASE WHEN r.id < n.position THEN r.id END, n.to_position, n.recorded_at, coalesce(n.replaced_at, n.recorded_at)
  FROM news n
  LEFT JOIN data_ingestion_runs r ON r.run_id = n.run_id
 ORDER BY n.position;
