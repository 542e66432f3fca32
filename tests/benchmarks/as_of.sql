-- Questions as of an instant: the ledger that they are put to, made set by set, and the questions themselves.

-- name: append
-- The next events, a whole number of runs of :run, appended as everybody appends: under the lock, past the guards.
-- Run after run goes through :records records, so that each is touched again and again, every other time with a
-- content that is new. Runs are a minute apart, and go through :tasks tasks. (A start's version is 1, a stream's id is made of its run's number.)
INSERT INTO events (position, recorded_at, stream_id, version, recorded_by, type, state)
SELECT e."position", e.now_recorded_at, md5('run ' || e.run)::uuid, e.line + 1, e.now_recorded_by,
       CASE e.line WHEN 0 THEN 'RunStarted' WHEN :run - 1 THEN 'RunCompleted' ELSE 'RecordIngested' END,
       convert_to(CASE e.line WHEN 0 THEN replace(replace(:started, 'TASK', 'bench:' || e.run % :tasks),
                                                  'STARTED', to_char(:first::timestamptz + e.run * interval '1 minute',
                                                                     'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                  WHEN :run - 1 THEN :completed
                  ELSE replace(replace(:ingested, 'RECORD', e.record::text), 'CONTENT', c.commitment) END, 'UTF8')
  FROM (SELECT n.*, n.touch % :records AS record, (n.touch / :records / 2 * 7 + n.touch) % :contents AS content
          FROM (SELECT b.*, b.last_position + g.n AS "position", (b.last_position + g.n - 1) / :run AS run,
                       (b.last_position + g.n - 1) % :run AS line,
                       (b.last_position + g.n - 1) / :run * (:run - 2) + (b.last_position + g.n - 1) % :run - 1 AS touch
                  FROM begin_append() b, generate_series(1, :events::bigint) AS g(n)) n) e
  LEFT JOIN (SELECT u.* FROM unnest(:commitments::text[]) WITH ORDINALITY AS u(commitment, ordinal)) c
       ON c.ordinal = e.content + 1

-- name: runs
SELECT * FROM data_ingestion_runs ORDER BY id DESC LIMIT 50

-- name: provenance
SELECT t.record_type, t.record_id, t.operation, r.run_id, r.task_name, r.data_source, r.status, r.started_at,
       t.created_at
  FROM data_ingestion_run_records t
  JOIN data_ingestion_runs r ON r.id = t.data_ingestion_run_id
 WHERE t.record_type = 'QuiverTrade' AND t.record_id = %s
 ORDER BY t.id DESC

-- name: content
SELECT record_id, content, run_id, recorded_at FROM records WHERE record_type = 'QuiverTrade' AND record_id = %s
