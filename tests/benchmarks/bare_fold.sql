-- The peer of folding: the rows that the read models end up with, inserted once and never changed.
--
-- Each block fills one table of the schema `bare`, whose tables, indexes and foreign keys are those of
-- the read models. What takes thought is looked up: `decided` and `counted` hold, by position, what the
-- fold decides by comparing contents, closing versions and counting. What is left is decoding the JSON
-- through the same views, finding the run's row, and inserting. :after and :upto bound the chunk.

-- name: answers
CREATE TABLE decided (
    position    bigint NOT NULL PRIMARY KEY,
    operation   text   NOT NULL,
    version     text,
    to_position bigint,
    updated_at  timestamptz
);
CREATE TABLE counted (
    id      bigint  NOT NULL PRIMARY KEY,
    fetched integer NOT NULL,
    created integer NOT NULL,
    updated integer NOT NULL,
    skipped integer NOT NULL
);

-- name: decided
SELECT r.id, r.operation, v.operation, v.to_position, v.updated_at
  FROM data_ingestion_run_records r
  LEFT JOIN record_versions v USING (id)

-- name: counted
SELECT id, records_fetched, records_created, records_updated, records_skipped FROM data_ingestion_runs

-- name: data_ingestion_runs
WITH ends AS MATERIALIZED (
    SELECT * FROM run_ended e WHERE e.position > :after AND e.position <= :upto
)
INSERT INTO data_ingestion_runs
       (id, run_id, task_name, started_at, completed_at, failed_at, status, data_source, data_date_start,
        data_date_end, records_fetched, records_created, records_updated, records_skipped, error_message,
        error_details, created_at, updated_at)
SELECT s.position, s.run_id, s.task, s.occurred_at,
       CASE e.status WHEN 'completed' THEN e.occurred_at END,
       CASE e.status WHEN 'failed' THEN e.occurred_at END,
       e.status, s.source, e.data_date_start, e.data_date_end,
       c.fetched, c.created, c.updated, c.skipped, e.message,
       CASE e.status WHEN 'failed' THEN
           jsonb_build_object('class', e.error_class, 'backtrace', e.backtrace) END,
       s.recorded_at, e.recorded_at
  FROM run_started s
  JOIN ends e ON e.run_id = s.run_id
  JOIN counted c ON c.id = s.position
 WHERE s.position > :after AND s.position <= :upto;

-- name: data_ingestion_run_ends
INSERT INTO data_ingestion_run_ends
       (id, data_ingestion_run_id, status, first, message, duration_ms, ended_at, created_at, updated_at)
SELECT e.position, r.id, e.status, true, e.message, e.duration_ms, e.occurred_at, e.recorded_at, e.recorded_at
  FROM run_ended e
  JOIN data_ingestion_runs r ON r.run_id = e.run_id
 WHERE e.position > :after AND e.position <= :upto;

-- name: api_payload_rows
INSERT INTO api_payload_rows (id, type, commitment, media_type, source, captured_at, created_at, updated_at)
SELECT b.id, b.type, b.commitment, b.media_type, r.data_source, coalesce(c.captured_at, c.occurred_at), c.recorded_at, c.recorded_at
  FROM api_call_made c
  JOIN data_ingestion_runs r ON r.run_id = c.run_id
 CROSS JOIN LATERAL (VALUES (2 * c.position - 1, 'ApiRequest', c.request, c.request_media_type),
                            (2 * c.position, 'ApiResponse', c.response, c.response_media_type))
                    AS b(id, type, commitment, media_type)
 WHERE c.position > :after AND c.position <= :upto;

-- name: api_call_logs
INSERT INTO api_call_logs
       (id, data_ingestion_run_id, api_request_payload_id, api_response_payload_id, endpoint,
        http_status_code, duration_ms, rate_limit_remaining, created_at, updated_at)
SELECT c.position, r.id, 2 * c.position - 1, 2 * c.position, c.endpoint,
       CASE WHEN c.error_class IS NULL OR c.http_status_code >= 400 THEN c.http_status_code END, c.duration_ms, c.rate_limit_remaining, c.recorded_at, c.recorded_at
  FROM api_call_made c
  JOIN data_ingestion_runs r ON r.run_id = c.run_id
 WHERE c.position > :after AND c.position <= :upto;

-- name: record_versions
INSERT INTO record_versions
       (id, record_type, record_id, operation, content, data_ingestion_run_id, to_position, created_at, updated_at)
SELECT e.position, e.record_type, e.record_id, d.version, e.content, r.id, d.to_position, e.recorded_at, d.updated_at
  FROM record_touched e
  JOIN decided d ON d.position = e.position
  JOIN data_ingestion_runs r ON r.run_id = e.run_id
 WHERE e.position > :after AND e.position <= :upto
   AND d.position > :after AND d.position <= :upto
   AND d.version IS NOT NULL;

-- name: data_ingestion_run_records
INSERT INTO data_ingestion_run_records
       (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
SELECT e.position, r.id, e.record_type, e.record_id, d.operation, e.recorded_at, e.recorded_at
  FROM record_touched e
  JOIN decided d ON d.position = e.position
  JOIN data_ingestion_runs r ON r.run_id = e.run_id
 WHERE e.position > :after AND e.position <= :upto
   AND d.position > :after AND d.position <= :upto;
