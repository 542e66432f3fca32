-- Read model: data_ingestion_run_ends. Every end that was recorded for a run; the first one counts,
-- each later one is a discrepancy that is shown. That a watcher found it abandoned is provisional: any real end counts.
-- of: RunCompleted, RunFailed, RunAbandoned
-- after: data_ingestion_runs

-- name: ddl
CREATE TABLE data_ingestion_run_ends (
    id                    bigint      NOT NULL,
    data_ingestion_run_id bigint      NOT NULL,
    status                text        NOT NULL,
    first                 boolean     NOT NULL,
    message               text,
    duration_ms           bigint,
    ended_at              timestamptz NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    CONSTRAINT data_ingestion_run_ends_pkey PRIMARY KEY (id),
    CONSTRAINT data_ingestion_run_ends_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT data_ingestion_run_ends_status CHECK (status IN ('completed', 'failed', 'abandoned'))
);
CREATE INDEX idx_dir_ends_on_run ON data_ingestion_run_ends (data_ingestion_run_id, id);
CREATE UNIQUE INDEX idx_dir_ends_first ON data_ingestion_run_ends (data_ingestion_run_id) WHERE first;
COMMENT ON TABLE  data_ingestion_run_ends                       IS 'Every recorded end of every run.';
COMMENT ON COLUMN data_ingestion_run_ends.id                    IS 'Position of the RunCompleted, RunFailed or RunAbandoned event.';
COMMENT ON COLUMN data_ingestion_run_ends.data_ingestion_run_id IS 'The run that ended.';
COMMENT ON COLUMN data_ingestion_run_ends.status                IS 'completed, failed, or abandoned.';
COMMENT ON COLUMN data_ingestion_run_ends.first                 IS 'Whether this is the end that counts: the first that is real.';
COMMENT ON COLUMN data_ingestion_run_ends.message               IS 'Why it failed, or seems abandoned.';
COMMENT ON COLUMN data_ingestion_run_ends.duration_ms           IS 'Duration by a monotonic clock, where the run itself ended.';
COMMENT ON COLUMN data_ingestion_run_ends.ended_at              IS 'When, by the clock of whoever said so.';
COMMENT ON COLUMN data_ingestion_run_ends.created_at            IS 'recorded_at of the event.';
COMMENT ON COLUMN data_ingestion_run_ends.updated_at            IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW data_ingestion_run_ends AS
SELECT * FROM data_ingestion_run_ends WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO data_ingestion_run_ends
       (id, data_ingestion_run_id, status, first, message, duration_ms, ended_at, created_at, updated_at)
SELECT e.position, CASE WHEN r.id < e.position THEN r.id END, e.status,
       row_number() OVER (PARTITION BY e.run_id ORDER BY e.position) = 1
           AND NOT EXISTS (SELECT FROM data_ingestion_run_ends f WHERE f.data_ingestion_run_id = r.id AND f.first),
       e.message, e.duration_ms, e.occurred_at, e.recorded_at, e.recorded_at
  FROM run_ended e
  LEFT JOIN data_ingestion_runs r ON r.run_id = e.run_id
 WHERE e.position > :after AND e.position <= :upto;
INSERT INTO data_ingestion_run_ends
       (id, data_ingestion_run_id, status, first, message, ended_at, created_at, updated_at)
SELECT f.position, CASE WHEN r.id < f.position THEN r.id END, 'abandoned', false, f.detail, f.occurred_at,
       f.recorded_at, f.recorded_at
  FROM finding f
  LEFT JOIN data_ingestion_runs r ON r.run_id = f.run_id
 WHERE f.position > :after AND f.position <= :upto AND f.kind = 'abandoned';
