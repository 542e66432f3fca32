-- How events are folded: range by range, by whatever projections the search path leads to.
--
-- The names below that are not of this schema (progress, set_aside, fold_…) are looked for where the caller's
-- search path leads: the live read models, the copy that a rebuild fills, or the temporary one of a replay.

-- name: fold_range
-- Fold one range into those projections that stand at its beginning and fold a type of event that it holds.
-- Functions are called by the schema that progress is in, since none is ever looked for in a temporary one.
CREATE FUNCTION fold_range(after_position bigint, upto_position bigint) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    here text[] := ARRAY(SELECT e.type FROM events e
                          WHERE e.position > after_position AND e.position <= upto_position GROUP BY e.type);
    step text;
BEGIN
    FOR step IN
        SELECT format('SELECT %I.%I($1, $2)', n.nspname, s.stage || '_' || p.projection)
          FROM progress p
         CROSS JOIN unnest(p.stages) WITH ORDINALITY AS s(stage, turn)
          JOIN pg_class c ON c.oid = p.tableoid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE p.position = after_position AND (p.types IS NULL OR p.types && here)
         ORDER BY s.turn, p.ordinal
    LOOP
        EXECUTE step USING after_position, upto_position;
    END LOOP;
    UPDATE progress SET position = upto_position, updated_at = clock_timestamp()
     WHERE position = after_position;
END
$$;
COMMENT ON FUNCTION fold_range(bigint, bigint) IS 'Fold (after, upto] into the projections that stand at after.';

-- name: fold_next
-- Folds the next range, at most max_events long, in the caller's transaction, progress locked first.
-- An event that cannot be folded is found by halving the range and set aside; everything else goes on, in ranges
-- that grow from one event again: bad events come in rows.
--
-- The planner settings: a range may hold two events or twenty thousand, and one cached plan serves
-- both, since every join here is a look-up by index.
CREATE FUNCTION fold_next(
    max_events bigint, upto_position bigint, OUT folded_upto bigint, OUT head_position bigint)
LANGUAGE plpgsql
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
    size           bigint := max_events;
BEGIN
    PERFORM FROM progress ORDER BY ordinal FOR UPDATE;
    SELECT min(position) INTO after_position FROM progress;
    SELECT h.position INTO STRICT head_position FROM head h;
    folded_upto := least(after_position + max_events, head_position, upto_position,
                         (SELECT min(position) FROM progress WHERE position > after_position));
    next_aside  := (SELECT min(position) FROM set_aside WHERE position > after_position);
    WHILE after_position < folded_upto LOOP
        next_position := least(folded_upto, next_aside - 1, after_position + size);
        IF next_position = after_position THEN -- the next event is set aside: step over it
            next_position := next_aside;
            UPDATE progress SET position = next_position, updated_at = clock_timestamp()
             WHERE position = after_position;
            next_aside := (SELECT min(position) FROM set_aside WHERE position > next_position);
        ELSE
            LOOP
                BEGIN
                    PERFORM fold_range(after_position, next_position);
                    size := least(2 * size, max_events);
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
                        size          := (next_position - after_position) / 2;
                        next_position := after_position + size;
                END;
            END LOOP;
        END IF;
        after_position := next_position;
    END LOOP;
    folded_upto := after_position;
END
$$;
COMMENT ON FUNCTION fold_next(bigint, bigint) IS
    'Fold at most max_events more, none past upto_position unless it is NULL; returns how far that came and where the head is.';

-- name: grants
-- Folding takes rights on what is folded into, which only the projector has, and whoever makes a copy.
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION fold_range(bigint, bigint), fold_next(bigint, bigint) TO %I, %I',
                   ledger || '_reader', ledger || '_projector');
END
$$;
