-- How read models are kept: how far each has read, what was set aside, and the one function that
-- brings them up to date. The read models themselves come from projections/, one file each.
--
-- run as: projector

-- name: progress
CREATE TABLE progress (
    projection text        NOT NULL,
    ordinal    integer     NOT NULL,
    stages     text[]      NOT NULL,
    position   bigint      NOT NULL DEFAULT 0,
    sha256     text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT progress_pkey PRIMARY KEY (projection)
) WITH (fillfactor = 10);
COMMENT ON TABLE  progress            IS 'How far each projection has read.';
COMMENT ON COLUMN progress.projection IS 'The projection''s name, that of its file.';
COMMENT ON COLUMN progress.ordinal    IS 'Its turn: a projection comes after those it reads.';
COMMENT ON COLUMN progress.stages     IS 'What its file holds: fold, or fold and finish.';
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

-- name: fold_range
-- Fold one range into those projections that stand at its beginning.
CREATE FUNCTION fold_range(after_position bigint, upto_position bigint) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    step text;
BEGIN
    FOR step IN
        SELECT format('SELECT %I($1, $2)', stage || '_' || projection)
          FROM progress, unnest(stages) WITH ORDINALITY AS s(stage, turn)
         WHERE position = after_position
         ORDER BY turn, ordinal
    LOOP
        EXECUTE step USING after_position, upto_position;
    END LOOP;
    UPDATE progress SET position = upto_position, updated_at = clock_timestamp()
     WHERE position = after_position;
END
$$;
COMMENT ON FUNCTION fold_range(bigint, bigint) IS 'Fold (after, upto] into the projections that stand at after.';

-- name: update_read_models
-- Folds the next range, at most max_events long, in the caller's transaction, progress locked first;
-- waits no longer than that for another who folds.
-- An event that cannot be folded is found by halving the range and set aside; everything else goes on.
--
-- The planner settings: a range may hold two events or twenty thousand, and one cached plan serves
-- both, since every join here is a look-up by index.
CREATE FUNCTION update_read_models(
    max_events bigint, wait_milliseconds integer, OUT folded_upto bigint, OUT head_position bigint)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
SET enable_material = off
SET work_mem = '32MB'
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    after_position bigint;
    next_position  bigint;
    next_aside     bigint;
BEGIN
    PERFORM set_config('lock_timeout', wait_milliseconds::text, true);
    PERFORM FROM progress ORDER BY ordinal FOR UPDATE;
    SELECT min(position) INTO after_position FROM progress;
    SELECT h.position INTO STRICT head_position FROM head h;
    folded_upto := least(after_position + max_events, head_position,
                         (SELECT min(position) FROM progress WHERE position > after_position));
    next_aside  := (SELECT min(position) FROM set_aside WHERE position > after_position);
    WHILE after_position < folded_upto LOOP
        next_position := least(folded_upto, next_aside - 1);
        IF next_position = after_position THEN -- the next event is set aside: step over it
            next_position := next_aside;
            UPDATE progress SET position = next_position, updated_at = clock_timestamp()
             WHERE position = after_position;
            next_aside := (SELECT min(position) FROM set_aside WHERE position > next_position);
        ELSE
            LOOP
                BEGIN
                    PERFORM fold_range(after_position, next_position);
                    EXIT;
                EXCEPTION
                    -- What an event can cause; anything else (a lock, a full disk, a fault of ours) is raised.
                    WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
                        IF next_position = after_position + 1 THEN
                            INSERT INTO set_aside (position, error_code, message)
                            VALUES (next_position, SQLSTATE, SQLERRM);
                            next_aside    := next_position;
                            next_position := after_position;
                            EXIT;
                        END IF;
                        next_position := after_position + (next_position - after_position) / 2;
                END;
            END LOOP;
        END IF;
        after_position := next_position;
    END LOOP;
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
