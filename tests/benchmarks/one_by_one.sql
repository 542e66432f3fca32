-- What the library's runner executes: one INSERT an event, into tables identical to the read models, that
-- does all that the event says. Its rows must be those that folding makes.

-- name: RunStarted
INSERT INTO data_ingestion_runs (id, run_id, task_name, started_at, data_source, created_at, updated_at)
SELECT e.position, %(run_id)s, %(task)s, %(occurred_at)s, %(source)s, e.recorded_at, e.recorded_at
  FROM events e WHERE e.position = %(position)s;

-- name: ApiCallMade
WITH at AS (
    SELECT e.position, e.recorded_at, r.id AS run, r.data_source
      FROM events e, data_ingestion_runs r WHERE e.position = %(position)s AND r.run_id = %(run_id)s
), payloads AS (
    INSERT INTO api_payload_rows (id, type, commitment, media_type, source, captured_at, created_at, updated_at)
    SELECT p.id, p.type, p.commitment, NULL, at.data_source, %(occurred_at)s, at.recorded_at, at.recorded_at
      FROM at CROSS JOIN LATERAL (VALUES (2 * at.position - 1, 'ApiRequest', %(request)s),
                                         (2 * at.position, 'ApiResponse', %(response)s)) p (id, type, commitment)
)
INSERT INTO api_call_logs
       (id, data_ingestion_run_id, api_request_payload_id, api_response_payload_id, endpoint,
        http_status_code, duration_ms, rate_limit_remaining, created_at, updated_at)
SELECT position, run, 2 * position - 1, 2 * position, %(endpoint)s,
       %(http_status_code)s, %(duration_ms)s, %(rate_limit_remaining)s, recorded_at, recorded_at
  FROM at;

-- name: RecordIngested
WITH at AS (
    SELECT e.position, e.recorded_at, r.id AS run
      FROM events e, data_ingestion_runs r WHERE e.position = %(position)s AND r.run_id = %(run_id)s
), known AS (
    SELECT v.id, v.content
      FROM record_versions v WHERE v.record_type = %(record_type)s AND v.record_id = %(record_id)s
     ORDER BY v.id DESC LIMIT 1
), new AS (
    SELECT at.*, known.id AS known,
           CASE WHEN known.id IS NULL THEN 'created'
                WHEN known.content IS DISTINCT FROM %(content)s THEN 'updated' END AS version
      FROM at LEFT JOIN known ON true
), replaced AS (
    UPDATE record_versions v SET to_position = new.position, updated_at = new.recorded_at
      FROM new WHERE v.id = new.known AND new.version IS NOT NULL
), versions AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, content, data_ingestion_run_id, created_at, updated_at)
    SELECT position, %(record_type)s, %(record_id)s, version, %(content)s, run, recorded_at, recorded_at
      FROM new WHERE version IS NOT NULL
)
INSERT INTO data_ingestion_run_records
       (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
SELECT position, run, %(record_type)s, %(record_id)s, coalesce(%(operation)s, version, 'skipped'),
       recorded_at, recorded_at
  FROM new;

-- name: RunCompleted
WITH at AS (
    SELECT e.position, e.recorded_at, r.id AS run
      FROM events e, data_ingestion_runs r WHERE e.position = %(position)s AND r.run_id = %(run_id)s
), counted AS (
    SELECT count(*) AS fetched, count(*) FILTER (WHERE c.operation = 'created') AS created,
           count(*) FILTER (WHERE c.operation = 'updated') AS updated,
           count(*) FILTER (WHERE c.operation = 'skipped') AS skipped
      FROM data_ingestion_run_records c WHERE c.data_ingestion_run_id = (SELECT run FROM at)
), ended AS (
    UPDATE data_ingestion_runs r
       SET status = 'completed', completed_at = %(occurred_at)s, data_date_start = %(data_date_start)s,
           records_fetched = counted.fetched, records_created = counted.created,
           records_updated = counted.updated, records_skipped = counted.skipped, updated_at = at.recorded_at
      FROM at, counted WHERE r.id = at.run
)
INSERT INTO data_ingestion_run_ends
       (id, data_ingestion_run_id, status, first, duration_ms, ended_at, created_at, updated_at)
SELECT position, run, 'completed', true, %(duration_ms)s, %(occurred_at)s, recorded_at, recorded_at
  FROM at;
