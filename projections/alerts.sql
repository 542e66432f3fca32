-- Read models: findings, alerts, alert_attempts and watches. What watchers found, whom they told of it, and how
-- far they have looked. A row an event; that of an alert changes when it is first acknowledged and first
-- resolved, that of an attempt when it ends: each names the position where it did.
-- of: RunMissed, RunAbandoned, AnomalyFound, AlertRaised, AlertAttempted, AlertDelivered, AlertFailed, AlertAcknowledged, AlertResolved, WatchAdvanced
-- after:
--
-- All in one fold, since these events are rare.

-- name: ddl
CREATE TABLE findings (
    id            bigint           NOT NULL,
    kind          text             NOT NULL,
    alert_id      uuid             NOT NULL,
    key           text COLLATE "C" NOT NULL,
    task_name     text,
    run_id        uuid,
    scheduled_for timestamptz,
    last_seen_at  timestamptz,
    endpoint      text,
    detail        text             NOT NULL,
    "values"      jsonb,
    found_at      timestamptz      NOT NULL,
    created_at    timestamptz      NOT NULL,
    updated_at    timestamptz      NOT NULL,
    CONSTRAINT findings_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_findings_on_key ON findings (key);
CREATE INDEX idx_findings_on_alert ON findings (alert_id, id);
CREATE INDEX idx_findings_on_run ON findings (run_id);
COMMENT ON TABLE  findings               IS 'What watchers found.';
COMMENT ON COLUMN findings.id            IS 'Position of the RunMissed, RunAbandoned or AnomalyFound event.';
COMMENT ON COLUMN findings.kind          IS 'What it is: missed, abandoned, or the kind of an AnomalyFound.';
COMMENT ON COLUMN findings.alert_id      IS 'The alert that tells of it (alerts).';
COMMENT ON COLUMN findings.key           IS 'What was found, in a word; found once.';
COMMENT ON COLUMN findings.task_name     IS 'The task.';
COMMENT ON COLUMN findings.run_id        IS 'The run.';
COMMENT ON COLUMN findings.scheduled_for IS 'When the missed run was due.';
COMMENT ON COLUMN findings.last_seen_at  IS 'When the abandoned run was heard of last.';
COMMENT ON COLUMN findings.endpoint      IS 'The endpoint.';
COMMENT ON COLUMN findings.detail        IS 'What is the matter, in words.';
COMMENT ON COLUMN findings."values"      IS 'The figures behind it, JSON.';
COMMENT ON COLUMN findings.found_at      IS 'When, by the watcher''s clock.';
COMMENT ON COLUMN findings.created_at    IS 'recorded_at of the event.';
COMMENT ON COLUMN findings.updated_at    IS 'recorded_at of the event.';
CREATE TABLE alerts (
    id                    bigint      NOT NULL,
    alert_id              uuid        NOT NULL,
    kind                  text        NOT NULL,
    subject               text        NOT NULL,
    severity              text        NOT NULL,
    title                 text        NOT NULL,
    detail                text        NOT NULL,
    owner                 text,
    run_id                uuid,
    channels              text[]      NOT NULL,
    raised_at             timestamptz NOT NULL,
    acknowledged_at       timestamptz,
    acknowledged_by       text,
    acknowledged_reason   text,
    acknowledged_position bigint,
    resolved_at           timestamptz,
    resolved_reason       text,
    resolved_position     bigint,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    CONSTRAINT alerts_pkey PRIMARY KEY (id),
    CONSTRAINT alerts_alert_id UNIQUE (alert_id),
    CONSTRAINT alerts_severity CHECK (severity IN ('critical', 'warning'))
);
CREATE INDEX idx_alerts_open ON alerts (kind, subject) WHERE resolved_position IS NULL;
COMMENT ON TABLE  alerts                       IS 'Incidents that somebody was, or is, to be told of: one alert an incident.';
COMMENT ON COLUMN alerts.id                    IS 'Position of the AlertRaised event.';
COMMENT ON COLUMN alerts.alert_id              IS 'The alert''s UUID.';
COMMENT ON COLUMN alerts.kind                  IS 'What it is about: the kind of its findings.';
COMMENT ON COLUMN alerts.subject               IS 'Whom it is about: a task, an endpoint, or the ledger.';
COMMENT ON COLUMN alerts.severity              IS 'critical or warning.';
COMMENT ON COLUMN alerts.title                 IS 'What it says, in a line.';
COMMENT ON COLUMN alerts.detail                IS 'What is the matter, in words.';
COMMENT ON COLUMN alerts.owner                 IS 'Who looks after the task.';
COMMENT ON COLUMN alerts.run_id                IS 'The run that it began with.';
COMMENT ON COLUMN alerts.channels              IS 'Channels that are told of it.';
COMMENT ON COLUMN alerts.raised_at             IS 'When, by the watcher''s clock.';
COMMENT ON COLUMN alerts.acknowledged_at       IS 'When somebody first acknowledged it, by their clock.';
COMMENT ON COLUMN alerts.acknowledged_by       IS 'Who, by their own word.';
COMMENT ON COLUMN alerts.acknowledged_reason   IS 'What they said.';
COMMENT ON COLUMN alerts.acknowledged_position IS 'Position of that event.';
COMMENT ON COLUMN alerts.resolved_at           IS 'When the incident was over, by the watcher''s clock.';
COMMENT ON COLUMN alerts.resolved_reason       IS 'Why it was.';
COMMENT ON COLUMN alerts.resolved_position     IS 'Position of that event; NULL while it is open.';
COMMENT ON COLUMN alerts.created_at            IS 'recorded_at of the event.';
COMMENT ON COLUMN alerts.updated_at            IS 'recorded_at of the event that changed the row last.';
CREATE TABLE alert_attempts (
    id             bigint      NOT NULL,
    alert_id       uuid        NOT NULL,
    channel        text        NOT NULL,
    notice         text        NOT NULL,
    attempt        integer     NOT NULL,
    escalates      text,
    status         text        NOT NULL DEFAULT 'begun',
    repeated       boolean     NOT NULL DEFAULT false,
    error          text,
    attempted_at   timestamptz NOT NULL,
    ended_at       timestamptz,
    ended_position bigint,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT alert_attempts_pkey PRIMARY KEY (id),
    CONSTRAINT alert_attempts_number UNIQUE (alert_id, channel, notice, attempt),
    CONSTRAINT alert_attempts_alert FOREIGN KEY (alert_id) REFERENCES alerts (alert_id),
    CONSTRAINT alert_attempts_notice CHECK (notice IN ('raised', 'resolved')),
    CONSTRAINT alert_attempts_status CHECK (status IN ('begun', 'delivered', 'failed'))
);
COMMENT ON TABLE  alert_attempts                IS 'Attempts to tell channels of alerts.';
COMMENT ON COLUMN alert_attempts.id             IS 'Position of the AlertAttempted event.';
COMMENT ON COLUMN alert_attempts.alert_id       IS 'The alert (alerts).';
COMMENT ON COLUMN alert_attempts.channel        IS 'The channel of ledger.toml.';
COMMENT ON COLUMN alert_attempts.notice         IS 'What it was told: raised or resolved.';
COMMENT ON COLUMN alert_attempts.attempt        IS 'Which attempt it was, from 1.';
COMMENT ON COLUMN alert_attempts.escalates      IS 'The channel that had failed, in whose place this one was told.';
COMMENT ON COLUMN alert_attempts.status         IS 'delivered or failed; begun where that is not known: the watcher was killed, or is at it.';
COMMENT ON COLUMN alert_attempts.repeated       IS 'Whether an earlier attempt may have arrived as well.';
COMMENT ON COLUMN alert_attempts.error          IS 'Why it failed.';
COMMENT ON COLUMN alert_attempts.attempted_at   IS 'When, by the watcher''s clock.';
COMMENT ON COLUMN alert_attempts.ended_at       IS 'When it ended, by the watcher''s clock.';
COMMENT ON COLUMN alert_attempts.ended_position IS 'Position of the AlertDelivered or AlertFailed event.';
COMMENT ON COLUMN alert_attempts.created_at     IS 'recorded_at of the event.';
COMMENT ON COLUMN alert_attempts.updated_at     IS 'recorded_at of the event that changed the row last.';
CREATE TABLE watches (
    id            bigint      NOT NULL,
    upto_position bigint      NOT NULL,
    watched_at    timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT watches_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE  watches               IS 'How far watchers have looked.';
COMMENT ON COLUMN watches.id            IS 'Position of the WatchAdvanced event.';
COMMENT ON COLUMN watches.upto_position IS 'They have looked at every event up to this position.';
COMMENT ON COLUMN watches.watched_at    IS 'When, by the watcher''s clock.';
COMMENT ON COLUMN watches.created_at    IS 'recorded_at of the event.';
COMMENT ON COLUMN watches.updated_at    IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW findings AS
SELECT * FROM findings WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW alerts AS
SELECT a.id, a.alert_id, a.kind, a.subject, a.severity, a.title, a.detail, a.owner, a.run_id, a.channels, a.raised_at,
       CASE WHEN a.acknowledged_position <= p.at THEN a.acknowledged_at END       AS acknowledged_at,
       CASE WHEN a.acknowledged_position <= p.at THEN a.acknowledged_by END       AS acknowledged_by,
       CASE WHEN a.acknowledged_position <= p.at THEN a.acknowledged_reason END   AS acknowledged_reason,
       CASE WHEN a.acknowledged_position <= p.at THEN a.acknowledged_position END AS acknowledged_position,
       CASE WHEN a.resolved_position <= p.at THEN a.resolved_at END               AS resolved_at,
       CASE WHEN a.resolved_position <= p.at THEN a.resolved_reason END           AS resolved_reason,
       CASE WHEN a.resolved_position <= p.at THEN a.resolved_position END         AS resolved_position,
       a.created_at,
       (SELECT e.recorded_at FROM events e
         WHERE e.position = greatest(a.id, CASE WHEN a.acknowledged_position <= p.at THEN a.acknowledged_position END,
                                     CASE WHEN a.resolved_position <= p.at THEN a.resolved_position END)) AS updated_at
  FROM alerts a
 CROSS JOIN (SELECT "position"() AS at OFFSET 0) p
 WHERE a.id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW alert_attempts AS
SELECT a.id, a.alert_id, a.channel, a.notice, a.attempt, a.escalates,
       CASE WHEN a.ended_position <= p.at THEN a.status ELSE 'begun' END AS status,
       coalesce(a.ended_position <= p.at AND a.repeated, false)          AS repeated,
       CASE WHEN a.ended_position <= p.at THEN a.error END               AS error,
       a.attempted_at,
       CASE WHEN a.ended_position <= p.at THEN a.ended_at END            AS ended_at,
       CASE WHEN a.ended_position <= p.at THEN a.ended_position END      AS ended_position,
       a.created_at,
       CASE WHEN a.ended_position <= p.at THEN a.updated_at ELSE a.created_at END AS updated_at
  FROM alert_attempts a
 CROSS JOIN (SELECT "position"() AS at OFFSET 0) p
 WHERE a.id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW watches AS
SELECT * FROM watches WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO findings
       (id, kind, alert_id, key, task_name, run_id, scheduled_for, last_seen_at, endpoint, detail, "values",
        found_at, created_at, updated_at)
SELECT f.position, f.kind, f.alert_id, f.key, f.task, f.run_id, f.scheduled_for, f.last_seen_at, f.endpoint, f.detail,
       f."values", f.occurred_at, f.recorded_at, f.recorded_at
  FROM finding f
 WHERE f.position > :after AND f.position <= :upto;
INSERT INTO alerts
       (id, alert_id, kind, subject, severity, title, detail, owner, run_id, channels, raised_at, created_at, updated_at)
SELECT a.position, a.alert_id, a.kind, a.subject, a.severity, a.title, a.detail, a.owner, a.run_id, a.channels,
       a.occurred_at, a.recorded_at, a.recorded_at
  FROM alert_event a
 WHERE a.position > :after AND a.position <= :upto AND a.type = 'AlertRaised';
INSERT INTO alert_attempts
       (id, alert_id, channel, notice, attempt, escalates, attempted_at, created_at, updated_at)
SELECT a.position, r.alert_id, a.channel, a.notice, a.attempt, a.escalates, a.occurred_at, a.recorded_at, a.recorded_at
  FROM alert_event a
  LEFT JOIN alerts r ON r.alert_id = a.alert_id AND r.id < a.position
 WHERE a.position > :after AND a.position <= :upto AND a.type = 'AlertAttempted';
INSERT INTO watches (id, upto_position, watched_at, created_at, updated_at)
SELECT w.position, w.upto, w.occurred_at, w.recorded_at, w.recorded_at
  FROM watch_advanced w
 WHERE w.position > :after AND w.position <= :upto;
-- The first end of an attempt counts, the first acknowledgement of an alert, and its first resolution: of those
-- that come after it. What comes before is an end of nothing, and no reason to pass over the next one.
UPDATE alert_attempts t
   SET status = CASE e.type WHEN 'AlertDelivered' THEN 'delivered' ELSE 'failed' END, repeated = e.repeated,
       error = e.error, ended_at = e.occurred_at, ended_position = e.position, updated_at = e.recorded_at
  FROM (SELECT DISTINCT ON (a.alert_id, a.channel, a.notice, a.attempt) a.*
          FROM alert_event a
          JOIN alert_attempts b ON b.alert_id = a.alert_id AND b.channel = a.channel AND b.notice = a.notice
                               AND b.attempt = a.attempt AND b.id < a.position
         WHERE a.position > :after AND a.position <= :upto AND a.type IN ('AlertDelivered', 'AlertFailed')
         ORDER BY a.alert_id, a.channel, a.notice, a.attempt, a.position) e
 WHERE t.alert_id = e.alert_id AND t.channel = e.channel AND t.notice = e.notice AND t.attempt = e.attempt
   AND t.ended_position IS NULL;
UPDATE alerts t
   SET acknowledged_at = e.occurred_at, acknowledged_by = e.by, acknowledged_reason = e.reason,
       acknowledged_position = e.position, updated_at = e.recorded_at
  FROM (SELECT DISTINCT ON (a.alert_id) a.*
          FROM alert_event a
          JOIN alerts b ON b.alert_id = a.alert_id AND b.id < a.position
         WHERE a.position > :after AND a.position <= :upto AND a.type = 'AlertAcknowledged'
         ORDER BY a.alert_id, a.position) e
 WHERE t.alert_id = e.alert_id AND t.acknowledged_position IS NULL;
UPDATE alerts t
   SET resolved_at = e.occurred_at, resolved_reason = e.reason, resolved_position = e.position,
       updated_at = greatest(t.updated_at, e.recorded_at)
  FROM (SELECT DISTINCT ON (a.alert_id) a.*
          FROM alert_event a
          JOIN alerts b ON b.alert_id = a.alert_id AND b.id < a.position
         WHERE a.position > :after AND a.position <= :upto AND a.type = 'AlertResolved'
         ORDER BY a.alert_id, a.position) e
 WHERE t.alert_id = e.alert_id AND t.resolved_position IS NULL;
