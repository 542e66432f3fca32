-- One view an event type: the only place that turns the JSON of an event, in every version of its
-- schema, into typed columns. Read models are folded from these views and from nothing else.
--
-- run_id is the stream unless the event names another run. OFFSET 0 keeps the JSON from being parsed
-- once for every column; a column that a query does not use is not computed.

-- name: as_instant
-- Only the form that events/form.py writes: PostgreSQL would also take 'now', 'infinity' and times without a
-- zone, whose meaning depends on who folds and when. Anything else is an error, and the event set aside.
CREATE FUNCTION as_instant(written text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (CASE WHEN written LIKE '____-__-__T__:__:__%Z' THEN written ELSE 'no instant: ' || written END)::timestamptz;
COMMENT ON FUNCTION as_instant(text) IS 'An instant in RFC 3339, UTC; NULL stays NULL, all else is an error.';

-- name: as_day
CREATE FUNCTION as_day(written text) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (CASE WHEN written LIKE '____-__-__' THEN written ELSE 'no day: ' || written END)::date;
COMMENT ON FUNCTION as_day(text) IS 'An RFC 3339 full-date; NULL stays NULL, all else is an error.';

-- name: run_started
CREATE VIEW run_started AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       coalesce((d.s ->> 'run_id')::uuid, e.stream_id) AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       d.s ->> 'task'                                  AS task,
       d.s ->> 'source'                                AS source,
       as_instant(d.s ->> 'scheduled_for')             AS scheduled_for,
       d.s -> 'parameters'                             AS parameters,
       d.s ->> 'actor'                                 AS actor,
       d.s ->> 'host'                                  AS host,
       (d.s ->> 'process_id')::bigint                  AS process_id,
       d.s ->> 'code_version'                          AS code_version,
       d.s ->> 'software_version'                      AS software_version
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type = 'RunStarted';
COMMENT ON VIEW run_started IS 'RunStarted events, decoded.';

-- name: record_touched
-- RecordIngested and RecordWithdrawn alike: what a run did with a record. Only a RecordWithdrawn withdraws.
CREATE VIEW record_touched AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       coalesce((d.s ->> 'run_id')::uuid, e.stream_id) AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       (d.s ->> 'record_type') COLLATE "C"             AS record_type,
       (d.s ->> 'record_id') COLLATE "C"               AS record_id,
       CASE WHEN e.type = 'RecordWithdrawn'          THEN 'withdrawn'
            WHEN d.s ->> 'operation' = 'withdrawn'   THEN 'no operation: withdrawn'
            ELSE d.s ->> 'operation' END             AS operation,
       (d.s ->> 'content') COLLATE "C"                 AS content
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('RecordIngested', 'RecordWithdrawn');
COMMENT ON VIEW record_touched IS 'RecordIngested and RecordWithdrawn events, decoded. content is a commitment.';

-- name: api_call_made
CREATE VIEW api_call_made AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       coalesce((d.s ->> 'run_id')::uuid, e.stream_id) AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       as_instant(d.s ->> 'captured_at')               AS captured_at,
       d.s ->> 'endpoint'                              AS endpoint,
       d.s ->> 'method'                                AS method,
       (d.s ->> 'http_status_code')::integer           AS http_status_code,
       (d.s ->> 'duration_ms')::integer                AS duration_ms,
       (d.s ->> 'rate_limit_remaining')::bigint        AS rate_limit_remaining,
       (d.s ->> 'request') COLLATE "C"                 AS request,
       (d.s ->> 'response') COLLATE "C"                AS response,
       d.s ->> 'request_media_type'                    AS request_media_type,
       d.s ->> 'response_media_type'                   AS response_media_type,
       coalesce((d.s ->> 'request_truncated')::boolean, false)  AS request_truncated,
       coalesce((d.s ->> 'response_truncated')::boolean, false) AS response_truncated,
       coalesce((d.s ->> 'response_partial')::boolean, false)   AS response_partial,
       d.s -> 'response_headers'                       AS response_headers,
       coalesce((d.s ->> 'attempt')::integer, 1)       AS attempt,
       d.s ->> 'error_class'                           AS error_class,
       d.s ->> 'error_message'                         AS error_message,
       d.s ->> 'capture_error'                         AS capture_error
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type = 'ApiCallMade';
COMMENT ON VIEW api_call_made IS 'ApiCallMade events, decoded. request and response are commitments.';

-- name: run_ended
-- RunCompleted and RunFailed alike: a run's end, and what it reached.
CREATE VIEW run_ended AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       coalesce((d.s ->> 'run_id')::uuid, e.stream_id) AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       CASE e.type WHEN 'RunCompleted' THEN 'completed' ELSE 'failed' END AS status,
       (d.s ->> 'fetched')::integer                    AS fetched,
       (d.s ->> 'created')::integer                    AS created,
       (d.s ->> 'updated')::integer                    AS updated,
       (d.s ->> 'skipped')::integer                    AS skipped,
       as_day(d.s ->> 'data_date_start')               AS data_date_start,
       as_day(d.s ->> 'data_date_end')                 AS data_date_end,
       (d.s ->> 'duration_ms')::bigint                 AS duration_ms,
       d.s ->> 'message'                               AS message,
       d.s ->> 'error_class'                           AS error_class,
       d.s -> 'backtrace'                              AS backtrace,
       (d.s ->> 'exit_status')::integer                AS exit_status,
       d.s ->> 'signal'                                AS signal,
       d.s ->> 'output'                                AS output
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('RunCompleted', 'RunFailed');
COMMENT ON VIEW run_ended IS 'RunCompleted and RunFailed events, decoded.';

-- name: officer_event
-- BodyErased, HoldAdded, HoldReleased and RetentionChanged alike: what officers decided, and why.
CREATE VIEW officer_event AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version, e.type,
       as_instant(d.s ->> 'occurred_at')         AS occurred_at,
       d.s ->> 'by'                              AS by,
       d.s ->> 'reason'                          AS reason,
       (d.s ->> 'commitment') COLLATE "C"        AS commitment,
       ARRAY(SELECT jsonb_array_elements_text(d.s -> 'referrers')::bigint) AS referrers,
       (d.s ->> 'hold_id')::uuid                 AS hold_id,
       (d.s ->> 'payload_id')::bigint            AS payload_id,
       (d.s ->> 'record_type') COLLATE "C"       AS record_type,
       (d.s ->> 'record_id') COLLATE "C"         AS record_id,
       (d.s ->> 'run_id')::uuid                  AS run_id,
       (d.s ->> 'days')::integer                 AS days
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('BodyErased', 'HoldAdded', 'HoldReleased', 'RetentionChanged');
COMMENT ON VIEW officer_event IS 'BodyErased, HoldAdded, HoldReleased and RetentionChanged events, decoded.';

-- name: event_corrected
CREATE VIEW event_corrected AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       as_instant(d.s ->> 'occurred_at')         AS occurred_at,
       (d.s ->> 'corrects')::bigint              AS corrects,
       d.s ->> 'by'                              AS by,
       d.s ->> 'reason'                          AS reason,
       d.s -> 'values'                           AS "values"
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type = 'EventCorrected';
COMMENT ON VIEW event_corrected IS 'EventCorrected events, decoded.';

-- name: decision_made
-- DecisionMade and DecisionExecuted alike: what was decided by the ledger's data, and carried out.
CREATE VIEW decision_made AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version, e.type,
       as_instant(d.s ->> 'occurred_at')         AS occurred_at,
       (d.s ->> 'decision_id') COLLATE "C"       AS decision_id,
       (d.s ->> 'execution_id') COLLATE "C"      AS execution_id,
       (d.s ->> 'reference')::bigint             AS reference,
       d.s -> 'inputs'                           AS inputs,
       d.s ->> 'by'                              AS by,
       d.s -> 'details'                          AS details
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('DecisionMade', 'DecisionExecuted');
COMMENT ON VIEW decision_made IS 'DecisionMade and DecisionExecuted events, decoded.';

-- name: run_heartbeat
-- HeartbeatRecorded events; of those that no run stands behind, run_id is their stream, where no run is.
CREATE VIEW run_heartbeat AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       coalesce((d.s ->> 'run_id')::uuid, e.stream_id) AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       (d.s ->> 'done')::bigint                        AS done,
       (d.s ->> 'total')::bigint                       AS total
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type = 'HeartbeatRecorded';
COMMENT ON VIEW run_heartbeat IS 'HeartbeatRecorded events, decoded.';

-- name: run_part
-- RunJoined and RunLeft alike: the processes that took part in the run of another one.
CREATE VIEW run_part AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version, e.type,
       (d.s ->> 'run_id')::uuid                        AS run_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       d.s ->> 'task'                                  AS task,
       d.s ->> 'source'                                AS source,
       d.s -> 'parameters'                             AS parameters,
       d.s ->> 'actor'                                 AS actor,
       d.s ->> 'host'                                  AS host,
       (d.s ->> 'process_id')::bigint                  AS process_id,
       d.s ->> 'code_version'                          AS code_version,
       d.s ->> 'software_version'                      AS software_version,
       (d.s ->> 'duration_ms')::bigint                 AS duration_ms,
       d.s ->> 'error_class'                           AS error_class,
       d.s ->> 'message'                               AS message
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('RunJoined', 'RunLeft');
COMMENT ON VIEW run_part IS 'RunJoined and RunLeft events, decoded.';

-- name: task_event
-- RunSkipped, TaskDefined and TaskRemoved alike: what is said of tasks outside of runs.
CREATE VIEW task_event AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version, e.type,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       d.s ->> 'task'                                  AS task,
       d.s ->> 'source'                                AS source,
       as_instant(d.s ->> 'scheduled_for')             AS scheduled_for,
       (d.s ->> 'running')::uuid                       AS running,
       d.s ->> 'host'                                  AS host,
       d.s ->> 'reason'                                AS reason,
       d.s -> 'definition'                             AS definition
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('RunSkipped', 'TaskDefined', 'TaskRemoved');
COMMENT ON VIEW task_event IS 'RunSkipped, TaskDefined and TaskRemoved events, decoded.';

-- name: finding
-- RunMissed, RunAbandoned and AnomalyFound alike: what watchers found.
CREATE VIEW finding AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       CASE WHEN e.type = 'RunMissed'                     THEN 'missed'
            WHEN e.type = 'RunAbandoned'                  THEN 'abandoned'
            WHEN d.s ->> 'kind' IN ('missed', 'abandoned') THEN 'no kind: ' || (d.s ->> 'kind')
            ELSE d.s ->> 'kind' END                     AS kind,
       (d.s ->> 'alert_id')::uuid                      AS alert_id,
       (d.s ->> 'key') COLLATE "C"                     AS key,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       (d.s ->> 'run_id')::uuid                        AS run_id,
       d.s ->> 'task'                                  AS task,
       as_instant(d.s ->> 'scheduled_for')             AS scheduled_for,
       as_instant(d.s ->> 'last_seen_at')              AS last_seen_at,
       d.s ->> 'endpoint'                              AS endpoint,
       d.s ->> 'detail'                                AS detail,
       d.s -> 'values'                                 AS "values"
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('RunMissed', 'RunAbandoned', 'AnomalyFound');
COMMENT ON VIEW finding IS 'RunMissed, RunAbandoned and AnomalyFound events, decoded; an AnomalyFound is neither of the others.';

-- name: alert_event
-- What happened to alerts, from AlertRaised to AlertResolved.
CREATE VIEW alert_event AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version, e.type,
       (d.s ->> 'alert_id')::uuid                      AS alert_id,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       d.s ->> 'kind'                                  AS kind,
       d.s ->> 'subject'                               AS subject,
       d.s ->> 'severity'                              AS severity,
       d.s ->> 'title'                                 AS title,
       d.s ->> 'detail'                                AS detail,
       d.s ->> 'owner'                                 AS owner,
       (d.s ->> 'run_id')::uuid                        AS run_id,
       CASE WHEN e.type = 'AlertRaised' THEN
            ARRAY(SELECT jsonb_array_elements_text(d.s -> 'channels')) END AS channels,
       d.s ->> 'channel'                               AS channel,
       d.s ->> 'notice'                                AS notice,
       (d.s ->> 'attempt')::integer                    AS attempt,
       d.s ->> 'escalates'                             AS escalates,
       coalesce((d.s ->> 'repeated')::boolean, false)  AS repeated,
       d.s ->> 'error'                                 AS error,
       d.s ->> 'by'                                    AS by,
       d.s ->> 'reason'                                AS reason
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type IN ('AlertRaised', 'AlertAttempted', 'AlertDelivered', 'AlertFailed', 'AlertAcknowledged', 'AlertResolved');
COMMENT ON VIEW alert_event IS 'Events about alerts, decoded.';

-- name: watch_advanced
CREATE VIEW watch_advanced AS
SELECT e.position, e.recorded_at, e.recorded_by, e.stream_id, e.version,
       as_instant(d.s ->> 'occurred_at')               AS occurred_at,
       (d.s ->> 'upto')::bigint                        AS upto
  FROM events e
 CROSS JOIN LATERAL (SELECT convert_from(e.state, 'UTF8')::jsonb AS s OFFSET 0) d
 WHERE e.type = 'WatchAdvanced';
COMMENT ON VIEW watch_advanced IS 'WatchAdvanced events, decoded.';

-- name: grants
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT ON run_started, record_touched, api_call_made, run_ended, officer_event, event_corrected,'
                   ' decision_made, run_heartbeat, run_part, task_event, finding, alert_event, watch_advanced TO %I, %I',
                   ledger || '_reader', ledger || '_projector');
    EXECUTE format('GRANT EXECUTE ON FUNCTION as_instant(text), as_day(text) TO %I, %I',
                   ledger || '_reader', ledger || '_projector');
END
$$;
