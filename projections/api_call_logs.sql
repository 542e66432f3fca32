-- Read model: api_call_logs. One row an API call of a run.
-- of: ApiCallMade
-- after: api_payloads

-- name: ddl
CREATE TABLE api_call_logs (
    id                      bigint      NOT NULL,
    data_ingestion_run_id   bigint      NOT NULL,
    api_request_payload_id  bigint,
    api_response_payload_id bigint,
    endpoint                text        NOT NULL,
    http_status_code        integer,
    duration_ms             integer,
    rate_limit_remaining    bigint,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    CONSTRAINT api_call_logs_pkey PRIMARY KEY (id),
    CONSTRAINT api_call_logs_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT api_call_logs_request FOREIGN KEY (api_request_payload_id) REFERENCES api_payload_rows (id),
    CONSTRAINT api_call_logs_response FOREIGN KEY (api_response_payload_id) REFERENCES api_payload_rows (id)
);
CREATE INDEX idx_api_call_logs_on_run_and_time ON api_call_logs (data_ingestion_run_id, created_at);
CREATE INDEX idx_api_call_logs_on_status       ON api_call_logs (http_status_code);
CREATE INDEX idx_api_call_logs_on_request      ON api_call_logs (api_request_payload_id);
CREATE INDEX idx_api_call_logs_on_response     ON api_call_logs (api_response_payload_id);
COMMENT ON TABLE  api_call_logs                         IS 'One row an API call of a run.';
COMMENT ON COLUMN api_call_logs.id                      IS 'Position of the ApiCallMade event.';
COMMENT ON COLUMN api_call_logs.data_ingestion_run_id   IS 'The run that made the call.';
COMMENT ON COLUMN api_call_logs.api_request_payload_id  IS 'The request body (api_payloads), where there was one.';
COMMENT ON COLUMN api_call_logs.api_response_payload_id IS 'The response body (api_payloads), where there was one.';
COMMENT ON COLUMN api_call_logs.endpoint                IS 'What was called, without secrets.';
COMMENT ON COLUMN api_call_logs.http_status_code        IS 'HTTP status; NULL where no answer came, or one that broke off.';
COMMENT ON COLUMN api_call_logs.duration_ms             IS 'Milliseconds, by a monotonic clock.';
COMMENT ON COLUMN api_call_logs.rate_limit_remaining    IS 'Calls left, as the API said.';
COMMENT ON COLUMN api_call_logs.created_at              IS 'recorded_at of the event.';
COMMENT ON COLUMN api_call_logs.updated_at              IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW api_call_logs AS
SELECT * FROM api_call_logs WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO api_call_logs
       (id, data_ingestion_run_id, api_request_payload_id, api_response_payload_id, endpoint,
        http_status_code, duration_ms, rate_limit_remaining, created_at, updated_at)
SELECT c.position, CASE WHEN r.id < c.position THEN r.id END,
       CASE WHEN c.request  IS NOT NULL THEN 2 * c.position - 1 END,
       CASE WHEN c.response IS NOT NULL THEN 2 * c.position END,
       c.endpoint, CASE WHEN c.error_class IS NULL OR c.http_status_code >= 400 THEN c.http_status_code END,
       c.duration_ms, c.rate_limit_remaining, c.recorded_at, c.recorded_at
  FROM api_call_made c
  LEFT JOIN data_ingestion_runs r ON r.run_id = c.run_id
 WHERE c.position > :after AND c.position <= :upto;
