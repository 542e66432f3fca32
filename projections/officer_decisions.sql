-- Read models: body_erasures, holds, hold_releases and retention_changes. What officers decided, and why. A row
-- an event, and none ever changes; a hold is in force while no release names it.
-- of: BodyErased, HoldAdded, HoldReleased, RetentionChanged
-- after:
--
-- All in one fold, since these events are rare.

-- name: ddl
CREATE TABLE body_erasures (
    id         bigint           NOT NULL,
    commitment text COLLATE "C" NOT NULL,
    by         text             NOT NULL,
    reason     text             NOT NULL,
    referrers  integer          NOT NULL,
    created_at timestamptz      NOT NULL,
    updated_at timestamptz      NOT NULL,
    CONSTRAINT body_erasures_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_body_erasures_on_commitment ON body_erasures (commitment, id);
COMMENT ON TABLE  body_erasures            IS 'Bodies whose bytes were erased; several rows a body where one event could not name all that refer to it.';
COMMENT ON COLUMN body_erasures.id         IS 'Position of the BodyErased event.';
COMMENT ON COLUMN body_erasures.commitment IS 'The body (bodies).';
COMMENT ON COLUMN body_erasures.by         IS 'Who decided it, by their own word; recorded_by of the event is the role.';
COMMENT ON COLUMN body_erasures.reason     IS 'Why.';
COMMENT ON COLUMN body_erasures.referrers  IS 'How many events that refer to the body this event names.';
COMMENT ON COLUMN body_erasures.created_at IS 'recorded_at of the event.';
COMMENT ON COLUMN body_erasures.updated_at IS 'recorded_at of the event.';
CREATE TABLE holds (
    id          bigint      NOT NULL,
    hold_id     uuid        NOT NULL,
    by          text        NOT NULL,
    reason      text        NOT NULL,
    payload_id  bigint,
    record_type text COLLATE "C",
    record_id   text COLLATE "C",
    run_id      uuid,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT holds_pkey PRIMARY KEY (id),
    CONSTRAINT holds_hold_id UNIQUE (hold_id),
    CONSTRAINT holds_scope CHECK (
        num_nonnulls(payload_id, record_type, run_id) = 1 AND (record_type IS NULL) = (record_id IS NULL))
);
COMMENT ON TABLE  holds             IS 'Holds: while one is in force, no body that it covers can be erased.';
COMMENT ON COLUMN holds.id          IS 'Position of the HoldAdded event.';
COMMENT ON COLUMN holds.hold_id     IS 'The hold''s UUID.';
COMMENT ON COLUMN holds.by          IS 'Who decided it, by their own word.';
COMMENT ON COLUMN holds.reason      IS 'Why.';
COMMENT ON COLUMN holds.payload_id  IS 'It covers the API call of this payload (api_payloads).';
COMMENT ON COLUMN holds.record_type IS 'It covers every content of the record of this type,';
COMMENT ON COLUMN holds.record_id   IS 'and of this id.';
COMMENT ON COLUMN holds.run_id      IS 'It covers everything that the events of this run refer to.';
COMMENT ON COLUMN holds.created_at  IS 'recorded_at of the event.';
COMMENT ON COLUMN holds.updated_at  IS 'recorded_at of the event.';
CREATE TABLE hold_releases (
    id         bigint      NOT NULL,
    hold_id    uuid        NOT NULL,
    by         text        NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT hold_releases_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_hold_releases_on_hold ON hold_releases (hold_id, id);
COMMENT ON TABLE  hold_releases            IS 'Holds that were released; a hold is in force while it is not here.';
COMMENT ON COLUMN hold_releases.id         IS 'Position of the HoldReleased event.';
COMMENT ON COLUMN hold_releases.hold_id    IS 'The hold (holds).';
COMMENT ON COLUMN hold_releases.by         IS 'Who decided it, by their own word.';
COMMENT ON COLUMN hold_releases.reason     IS 'Why.';
COMMENT ON COLUMN hold_releases.created_at IS 'recorded_at of the event.';
COMMENT ON COLUMN hold_releases.updated_at IS 'recorded_at of the event.';
CREATE TABLE retention_changes (
    id         bigint      NOT NULL,
    days       integer     NOT NULL,
    by         text        NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT retention_changes_pkey PRIMARY KEY (id),
    CONSTRAINT retention_changes_days CHECK (days >= 0)
);
COMMENT ON TABLE  retention_changes            IS 'How long bodies must be kept; the last row counts, and without one there is no minimum.';
COMMENT ON COLUMN retention_changes.id         IS 'Position of the RetentionChanged event.';
COMMENT ON COLUMN retention_changes.days       IS 'Days of 24 hours from recorded_at of the youngest event that refers to a body; 0: no minimum.';
COMMENT ON COLUMN retention_changes.by         IS 'Who decided it, by their own word.';
COMMENT ON COLUMN retention_changes.reason     IS 'Why.';
COMMENT ON COLUMN retention_changes.created_at IS 'recorded_at of the event.';
COMMENT ON COLUMN retention_changes.updated_at IS 'recorded_at of the event.';
CREATE VIEW erased_bodies AS
SELECT DISTINCT ON (b.commitment) b.commitment,
       jsonb_build_object('erased', jsonb_build_object(
           'by', b.by, 'reason', b.reason, 'position', b.id,
           'at', to_char(b.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))) AS payload
  FROM body_erasures b
 ORDER BY b.commitment, b.id DESC;
COMMENT ON VIEW erased_bodies IS 'What there is to read in place of a body that was erased: {"erased": {"by", "reason", "at", "position"}}.';

-- name: as_of
CREATE VIEW body_erasures AS
SELECT * FROM body_erasures WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW holds AS
SELECT * FROM holds WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW hold_releases AS
SELECT * FROM hold_releases WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW retention_changes AS
SELECT * FROM retention_changes WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
WITH decided AS MATERIALIZED (
    SELECT e.* FROM officer_event e WHERE e.position > :after AND e.position <= :upto
), erased AS (
    INSERT INTO body_erasures (id, commitment, by, reason, referrers, created_at, updated_at)
    SELECT d.position, d.commitment, d.by, d.reason, cardinality(d.referrers), d.recorded_at, d.recorded_at
      FROM decided d
     WHERE d.type = 'BodyErased'
), held AS (
    INSERT INTO holds (id, hold_id, by, reason, payload_id, record_type, record_id, run_id, created_at, updated_at)
    SELECT d.position, d.hold_id, d.by, d.reason, d.payload_id, d.record_type, d.record_id, d.run_id,
           d.recorded_at, d.recorded_at
      FROM decided d
     WHERE d.type = 'HoldAdded'
), released AS (
    INSERT INTO hold_releases (id, hold_id, by, reason, created_at, updated_at)
    SELECT d.position, d.hold_id, d.by, d.reason, d.recorded_at, d.recorded_at
      FROM decided d
     WHERE d.type = 'HoldReleased'
)
INSERT INTO retention_changes (id, days, by, reason, created_at, updated_at)
SELECT d.position, d.days, d.by, d.reason, d.recorded_at, d.recorded_at
  FROM decided d
 WHERE d.type = 'RetentionChanged';
