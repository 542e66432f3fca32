-- Read model: data_ingestion_run_records. Which run touched which record, and how: the provenance.
-- after: data_ingestion_run_ends, record_versions
--
-- The first touch of a record in a run makes the row; a later touch can only raise the operation
-- (created outranks updated, which outranks skipped), and only until the run's end. An operation that
-- the script did not declare is what record_versions made of the event: a new version or none.

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

-- name: fold
-- late: touches after the end of their run; they can make a row, but never change one.
-- fresh: there can be no row of that run and record yet, since the run began in this range or the record
-- was never heard of before. Those need no look for a conflict, which costs as much as half the row.
WITH touches AS (
    SELECT e.position, e.recorded_at, CASE WHEN r.id < e.position THEN r.id END AS data_ingestion_run_id,
           e.record_type, e.record_id,
           coalesce(e.operation, v.operation, 'skipped') AS operation,
           e.position > f.id IS TRUE AS late,
           r.id > :after OR v.operation = 'created' AS fresh
      FROM record_ingested e
      LEFT JOIN record_versions v ON v.id = e.position
      LEFT JOIN data_ingestion_runs r ON r.run_id = e.run_id
      LEFT JOIN data_ingestion_run_ends f ON f.data_ingestion_run_id = r.id AND f.first
     WHERE e.position > :after AND e.position <= :upto
), late AS (
    INSERT INTO data_ingestion_run_records
           (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
    SELECT DISTINCT ON (t.data_ingestion_run_id, t.record_type, t.record_id)
           t.position, t.data_ingestion_run_id, t.record_type, t.record_id, t.operation, t.recorded_at, t.recorded_at
      FROM touches t
     WHERE t.late
     ORDER BY t.data_ingestion_run_id, t.record_type, t.record_id, t.position
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
              FROM touches
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
