-- How read models are kept: how far each has read, what was set aside, and the one function that
-- brings the live ones up to date. The read models themselves come from projections/, one file each.
--
-- run as: projector

-- name: progress
CREATE TABLE progress (
    projection text        NOT NULL,
    ordinal    integer     NOT NULL,
    stages     text[]      NOT NULL,
    types      text[],
    position   bigint      NOT NULL DEFAULT 0,
    sha256     text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT progress_pkey PRIMARY KEY (projection)
) WITH (fillfactor = 10);
COMMENT ON TABLE  progress            IS 'How far each projection has read.';
COMMENT ON COLUMN progress.projection IS 'The projection''s name, that of its file.';
COMMENT ON COLUMN progress.ordinal    IS 'Its turn: a projection comes after those it reads.';
COMMENT ON COLUMN progress.stages     IS 'What its file holds: fold, or fold and finish.';
COMMENT ON COLUMN progress.types      IS 'The types of events that it folds; NULL for all.';
COMMENT ON COLUMN progress.position   IS 'Position of the last event that it has folded.';
COMMENT ON COLUMN progress.sha256     IS 'SHA-256 of the file that made it, hexadecimal.';
COMMENT ON COLUMN progress.updated_at IS 'When it moved last, by the database clock.';

-- name: set_aside
CREATE TABLE set_aside (
    position     bigint      NOT NULL,
    error_code   text        NOT NULL,
    message      text        NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT set_aside_pkey PRIMARY KEY (position)
);
COMMENT ON TABLE  set_aside              IS 'Events that could not be folded; the rest went on without them.';
COMMENT ON COLUMN set_aside.position     IS 'Position of the event.';
COMMENT ON COLUMN set_aside.error_code   IS 'SQLSTATE of the error.';
COMMENT ON COLUMN set_aside.message      IS 'What the database said.';
COMMENT ON COLUMN set_aside.set_aside_at IS 'When, by the database clock.';

-- name: update_read_models
-- Folds the next range into the live read models; waits no longer than that for another who folds.
CREATE FUNCTION update_read_models(
    max_events bigint, wait_milliseconds integer, OUT folded_upto bigint, OUT head_position bigint)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM set_config('lock_timeout', wait_milliseconds::text, true);
    SELECT f.folded_upto, f.head_position INTO folded_upto, head_position FROM fold_next(max_events, NULL) f;
END
$$;
COMMENT ON FUNCTION update_read_models(bigint, integer) IS
    'Bring the read models up by at most max_events; returns how far they are now and where the head is.';

-- name: stored_events
-- The log under the names that the eventsourcing library reads it by.
CREATE VIEW stored_events AS
SELECT stream_id AS originator_id, version AS originator_version, type AS topic, state,
       position AS notification_id
  FROM events;
COMMENT ON VIEW stored_events IS 'The log under the column names of the eventsourcing library.';

-- name: grants
-- Everybody who may read, may read these; the read models themselves are granted as they are made.
DO $$
DECLARE
    ledger text := regexp_replace(current_schema(), '_read$', '');
BEGIN
    EXECUTE format('GRANT SELECT ON progress, set_aside, stored_events TO %I', ledger || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION update_read_models(bigint, integer) TO %I', ledger || '_writer');
END
$$;
