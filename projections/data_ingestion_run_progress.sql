-- Read model: data_ingestion_run_progress. How far runs said that they were, and that they went on. A row a
-- heartbeat of a run, none of which ever changes; a heartbeat of the ledger, which names no run, makes none.
-- of: HeartbeatRecorded
-- after: data_ingestion_runs

-- name: ddl
CREATE TABLE data_ingestion_run_progress (
    id                    bigint      NOT NULL,
    data_ingestion_run_id bigint      NOT NULL,
    done                  bigint,
    total                 bigint,
    occurred_at           timestamptz NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    CONSTRAINT data_ingestion_run_progress_pkey PRIMARY KEY (id),
    CONSTRAINT data_ingestion_run_progress_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id)
);
CREATE INDEX idx_dir_progress_on_run ON data_ingestion_run_progress (data_ingestion_run_id, id);
COMMENT ON TABLE  data_ingestion_run_progress                       IS 'Heartbeats of runs, and how far they were.';
COMMENT ON COLUMN data_ingestion_run_progress.id                    IS 'Position of the HeartbeatRecorded event.';
COMMENT ON COLUMN data_ingestion_run_progress.data_ingestion_run_id IS 'The run.';
COMMENT ON COLUMN data_ingestion_run_progress.done                  IS 'How much of its work was done; NULL where it did not say.';
COMMENT ON COLUMN data_ingestion_run_progress.total                 IS 'How much there was in all; NULL where it did not know.';
COMMENT ON COLUMN data_ingestion_run_progress.occurred_at           IS 'When, by the script''s clock.';
COMMENT ON COLUMN data_ingestion_run_progress.created_at            IS 'recorded_at of the event.';
COMMENT ON COLUMN data_ingestion_run_progress.updated_at            IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW data_ingestion_run_progress AS
SELECT * FROM data_ingestion_run_progress WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO data_ingestion_run_progress
       (id, data_ingestion_run_id, done, total, occurred_at, created_at, updated_at)
SELECT h.position, r.id, h.done, h.total, h.occurred_at, h.recorded_at, h.recorded_at
  FROM run_heartbeat h
  JOIN data_ingestion_runs r ON r.run_id = h.run_id AND r.id < h.position
 WHERE h.position > :after AND h.position <= :upto;
