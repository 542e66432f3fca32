-- Read model: data_ingestion_runs. One row a run: did it run, when, how did it end, what did it bring.
-- of: RunStarted, RunCompleted, RunFailed, RunAbandoned
-- after:

-- name: ddl
CREATE TABLE data_ingestion_runs (
    id              bigint      NOT NULL,
    run_id          uuid        NOT NULL,
    task_name       text        NOT NULL,
    started_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    failed_at       timestamptz,
    status          text        NOT NULL DEFAULT 'running',
    data_source     text        NOT NULL,
    data_date_start date,
    data_date_end   date,
    records_fetched integer     NOT NULL DEFAULT 0,
    records_created integer     NOT NULL DEFAULT 0,
    records_updated integer     NOT NULL DEFAULT 0,
    records_skipped integer     NOT NULL DEFAULT 0,
    error_message   text,
    error_details   jsonb,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT data_ingestion_runs_pkey PRIMARY KEY (id),
    CONSTRAINT data_ingestion_runs_run_id UNIQUE (run_id),
    CONSTRAINT data_ingestion_runs_status CHECK (status IN ('running', 'completed', 'failed')),
    CONSTRAINT data_ingestion_runs_end CHECK (
        (status = 'completed') = (completed_at IS NOT NULL) AND (status = 'failed') = (failed_at IS NOT NULL))
);
CREATE INDEX idx_dir_on_task_and_started   ON data_ingestion_runs (task_name, started_at);
CREATE INDEX idx_dir_on_source_and_started ON data_ingestion_runs (data_source, started_at);
CREATE INDEX idx_dir_on_status_and_started ON data_ingestion_runs (status, started_at);
COMMENT ON TABLE  data_ingestion_runs                 IS 'One row a run.';
COMMENT ON COLUMN data_ingestion_runs.id              IS 'Position of the run''s RunStarted event.';
COMMENT ON COLUMN data_ingestion_runs.run_id          IS 'The run''s UUID; its event stream.';
COMMENT ON COLUMN data_ingestion_runs.task_name       IS 'What ran, e.g. data_fetch:congress_daily.';
COMMENT ON COLUMN data_ingestion_runs.started_at      IS 'When it started, by the script''s clock.';
COMMENT ON COLUMN data_ingestion_runs.completed_at    IS 'When it completed, by the script''s clock.';
COMMENT ON COLUMN data_ingestion_runs.failed_at       IS 'When it failed, by the script''s clock.';
COMMENT ON COLUMN data_ingestion_runs.status          IS 'running, completed or failed; the first end that is recorded wins, and before that, one that a watcher found abandoned has failed: its error_details have the class RunAbandoned.';
COMMENT ON COLUMN data_ingestion_runs.data_source     IS 'Where the data came from.';
COMMENT ON COLUMN data_ingestion_runs.data_date_start IS 'First day that the data covers, inclusive.';
COMMENT ON COLUMN data_ingestion_runs.data_date_end   IS 'Last day that the data covers, inclusive.';
COMMENT ON COLUMN data_ingestion_runs.records_fetched IS 'Records fetched: as declared, else the records touched, but for the withdrawn ones.';
COMMENT ON COLUMN data_ingestion_runs.records_created IS 'Records created: as declared, else counted at the end.';
COMMENT ON COLUMN data_ingestion_runs.records_updated IS 'Records updated: as declared, else counted at the end.';
COMMENT ON COLUMN data_ingestion_runs.records_skipped IS 'Records skipped: as declared, else counted at the end.';
COMMENT ON COLUMN data_ingestion_runs.error_message   IS 'Why it failed.';
COMMENT ON COLUMN data_ingestion_runs.error_details   IS 'class and backtrace of the exception, the ten innermost frames; of a command, exit_status or signal, and the tail of its output.';
COMMENT ON COLUMN data_ingestion_runs.created_at      IS 'recorded_at of the RunStarted event.';
COMMENT ON COLUMN data_ingestion_runs.updated_at      IS 'recorded_at of the event that changed the row last.';

-- name: as_of
-- A run changes at its first real end; before that, where a watcher found it abandoned.
CREATE VIEW data_ingestion_runs AS
SELECT r.id, r.run_id, r.task_name, r.started_at,
       CASE WHEN f.id IS NOT NULL THEN r.completed_at END              AS completed_at,
       CASE WHEN f.id IS NOT NULL THEN r.failed_at ELSE a.ended_at END AS failed_at,
       CASE WHEN f.id IS NOT NULL THEN r.status
            WHEN a.id IS NOT NULL THEN 'failed' ELSE 'running' END      AS status,
       r.data_source,
       CASE WHEN f.id IS NOT NULL THEN r.data_date_start END           AS data_date_start,
       CASE WHEN f.id IS NOT NULL THEN r.data_date_end END             AS data_date_end,
       CASE WHEN f.id IS NOT NULL THEN r.records_fetched ELSE 0 END    AS records_fetched,
       CASE WHEN f.id IS NOT NULL THEN r.records_created ELSE 0 END    AS records_created,
       CASE WHEN f.id IS NOT NULL THEN r.records_updated ELSE 0 END    AS records_updated,
       CASE WHEN f.id IS NOT NULL THEN r.records_skipped ELSE 0 END    AS records_skipped,
       CASE WHEN f.id IS NOT NULL THEN r.error_message ELSE a.message END AS error_message,
       CASE WHEN f.id IS NOT NULL THEN r.error_details
            WHEN a.id IS NOT NULL THEN '{"class": "RunAbandoned"}'::jsonb END AS error_details,
       r.created_at,
       CASE WHEN f.id IS NOT NULL THEN r.updated_at ELSE coalesce(a.created_at, r.created_at) END AS updated_at
  FROM data_ingestion_runs r
  LEFT JOIN data_ingestion_run_ends f
       ON f.data_ingestion_run_id = r.id AND f.first AND f.id <= (SELECT "position"())
  LEFT JOIN LATERAL (
       SELECT a.id, a.message, a.ended_at, a.created_at
         FROM data_ingestion_run_ends a
        WHERE a.data_ingestion_run_id = r.id AND a.status = 'abandoned' AND a.id <= (SELECT "position"())
        ORDER BY a.id LIMIT 1) a ON f.id IS NULL
 WHERE r.id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO data_ingestion_runs
       (id, run_id, task_name, started_at, data_source, created_at, updated_at)
SELECT s.position, s.run_id, s.task, s.occurred_at, s.source, s.recorded_at, s.recorded_at
  FROM run_started s
 WHERE s.position > :after AND s.position <= :upto;

-- name: finish
-- What the first end of each run declared; what it did not declare is counted from the records that
-- the run had touched by then.
UPDATE data_ingestion_runs r
   SET status          = e.status,
       completed_at    = CASE e.status WHEN 'completed' THEN e.occurred_at END,
       failed_at       = CASE e.status WHEN 'failed' THEN e.occurred_at END,
       data_date_start = e.data_date_start,
       data_date_end   = e.data_date_end,
       records_fetched = coalesce(e.fetched, c.touched),
       records_created = coalesce(e.created, c.created),
       records_updated = coalesce(e.updated, c.updated),
       records_skipped = coalesce(e.skipped, c.skipped),
       error_message   = e.message,
       error_details   = CASE e.status WHEN 'failed' THEN
                             jsonb_build_object('class', e.error_class, 'backtrace', e.backtrace)
                             || jsonb_strip_nulls(jsonb_build_object(
                                    'exit_status', e.exit_status, 'signal', e.signal, 'output', e.output)) END,
       updated_at      = e.recorded_at
  FROM data_ingestion_run_ends f
  JOIN run_ended e ON e.position = f.id
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE rr.operation <> 'withdrawn') AS touched,
              count(*) FILTER (WHERE rr.operation = 'created') AS created,
              count(*) FILTER (WHERE rr.operation = 'updated') AS updated,
              count(*) FILTER (WHERE rr.operation = 'skipped') AS skipped
         FROM data_ingestion_run_records rr
        WHERE rr.data_ingestion_run_id = f.data_ingestion_run_id
          AND rr.id < f.id) c
 WHERE f.id > :after AND f.id <= :upto
   AND f.first
   AND r.id = f.data_ingestion_run_id;
-- A run without a real end that a watcher found abandoned: it has failed, until one is recorded.
UPDATE data_ingestion_runs r
   SET status = 'failed', failed_at = a.ended_at, error_message = a.message,
       error_details = '{"class": "RunAbandoned"}', updated_at = a.created_at
  FROM (SELECT DISTINCT ON (a.data_ingestion_run_id) a.*
          FROM data_ingestion_run_ends a
         WHERE a.id > :after AND a.id <= :upto AND a.status = 'abandoned'
         ORDER BY a.data_ingestion_run_id, a.id) a
 WHERE r.id = a.data_ingestion_run_id AND r.status = 'running';
