-- As of an instant: the ledger up to the last position whose recorded_at is not after it.
--
--     SET audit_ledger.as_of = '2025-12-24 09:00 America/New_York';
--     SELECT * FROM as_of.records WHERE record_type = 'QuiverTrade';
--     SELECT * FROM as_of.answer;
--
-- The setting is an instant with its zone, a date with its zone (the end of that day), a position, or
-- `run RUN_ID` (the end of that run). Unset, misspelt, without a zone, or before the ledger begins it is refused:
-- no question is ever answered as now by accident. The views of the read models are in projections/.
--
-- run as: projector
-- in: as_of

-- name: instant
-- Offsets, UTC, GMT, and names of the IANA time zone database with an area; no abbreviations, which mean
-- different things to different people. (Etc/GMT as far as the database goes: past that, PostgreSQL would read a
-- POSIX offset.) A local time that a clock skips or shows twice is refused, too; of a date, the end is where the
-- next one begins first. What lies past the year 9999 is its end: clients cannot hold more.
CREATE FUNCTION instant(written text) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    given   text := trim(written);
    rest    text := ltrim(regexp_replace(substr(given, 11), '^[Tt]', ''));
    clock   text := substring(rest FROM '^\d\d:[\d:.]+');
    zone    text := nullif(ltrim(substr(rest, coalesce(length(clock), 0) + 1)), '');
    local   timestamp;
    near_by timestamptz;
    whole   boolean := clock IS NULL;
    earlier timestamptz;
    later   timestamptz;
BEGIN
    -- Nothing is captured, which would take most of the time of an answer.
    IF given !~* ('^\d{4}-\d\d-\d\d(?:(?:T| +)\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?'
                  ' *(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?|[a-z_]+(?:/[a-z_-]+)+|Etc/GMT(?:[+-](?:\d|1[0-2])|-1[34]))?$') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL010',
            MESSAGE = 'this is no instant that a question can be asked as of',
            DETAIL  = format('%L', written),
            HINT    = 'Write 2025-12-24T09:00:00-05:00, 2025-12-24 14:00Z or 2025-12-24 09:00 America/New_York;'
                      ' a date with a zone, for the end of that day; a position; or run RUN_ID.';
    END IF;
    IF zone IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL010',
            MESSAGE = 'an instant without a time zone could be any of many',
            DETAIL  = format('%L', written),
            HINT    = format('Write %s UTC, %s -05:00 or %s America/New_York.', trim(written), trim(written), trim(written));
    END IF;
    BEGIN
        local := (left(given, 10) || ' ' || coalesce(clock, '00:00'))::timestamp;
        IF whole THEN
            local := local + interval '1 day';
        END IF;
        IF zone ~ '^[+-]' OR upper(zone) IN ('Z', 'UTC', 'GMT') THEN
            earlier := (local::text || CASE WHEN zone ~ '^[+-]' THEN zone ELSE '+00' END)::timestamptz;
        ELSE
            -- By the offsets of the day before and of the day after: where they differ, clocks were set near by.
            near_by := (local - interval '1 day') AT TIME ZONE 'UTC';
            earlier := (local - ((near_by AT TIME ZONE zone) - (near_by AT TIME ZONE 'UTC'))) AT TIME ZONE 'UTC';
            near_by := (local + interval '1 day') AT TIME ZONE 'UTC';
            later   := (local - ((near_by AT TIME ZONE zone) - (near_by AT TIME ZONE 'UTC'))) AT TIME ZONE 'UTC';
            IF earlier AT TIME ZONE zone = local AND later AT TIME ZONE zone = local AND earlier <> later AND NOT whole THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'AL010',
                    MESSAGE = format('clocks in %s showed this time twice', zone),
                    DETAIL  = format('%L', written),
                    HINT    = format('Write %s or %s.', to_char(least(earlier, later) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ'),
                                     to_char(greatest(earlier, later) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ'));
            END IF;
            IF earlier AT TIME ZONE zone <> local AND later AT TIME ZONE zone = local THEN
                earlier := later;
            END IF;
            IF earlier AT TIME ZONE zone <> local THEN
                IF NOT whole THEN
                    RAISE EXCEPTION USING
                        ERRCODE = 'AL010',
                        MESSAGE = format('no clock in %s ever showed this time', zone),
                        DETAIL  = format('%L', written),
                        HINT    = format('Clocks were set forward over it. Write %s, which is that time on a clock not yet set.',
                                         to_char(earlier AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ'));
                END IF;
                earlier := local AT TIME ZONE zone; -- a day that begins when clocks are set forward
            END IF;
        END IF;
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL010',
            MESSAGE = 'this is no instant that a question can be asked as of',
            DETAIL  = format('%L: %s', written, SQLERRM),
            HINT    = 'Correct the date, the time or the zone.';
    END;
    RETURN least(CASE WHEN whole THEN earlier - interval '1 microsecond' ELSE earlier END,
                 '9999-12-31 23:59:59.999999+00');
END
$$;
COMMENT ON FUNCTION instant(text) IS 'An instant as people write it, with its zone; anything less is an error. A date is the end of that day.';

-- name: last_before
-- Positions have no gaps and recorded_at never decreases, so halving finds it: 24 look-ups among ten million.
CREATE FUNCTION last_before(instant timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    low    bigint := 0;
    high   bigint;
    middle bigint;
    at     timestamptz;
BEGIN
    SELECT h.position, h.recorded_at INTO STRICT high, at FROM head h;
    IF at <= instant THEN
        RETURN high;
    END IF;
    WHILE high - low > 1 LOOP -- not after it: low; after it: high
        middle := (low + high) / 2;
        SELECT e.recorded_at INTO STRICT at FROM events e WHERE e.position = middle;
        IF at <= instant THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
COMMENT ON FUNCTION last_before(timestamptz) IS 'The last position whose recorded_at is not after an instant; 0 where there is none.';

-- name: resolve
CREATE FUNCTION resolve(asked text, OUT "position" bigint, OUT as_of timestamptz)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    head  bigint := (SELECT h.position FROM head h);
    begun timestamptz := (SELECT e.recorded_at FROM events e WHERE e.position = 1);
    run   record;
    given text;
    low   uuid;
    high  uuid;
BEGIN
    IF coalesce(trim(asked), '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL010',
            MESSAGE = 'it is not said as of when the question is asked',
            DETAIL  = 'audit_ledger.as_of is not set.',
            HINT    = 'SET audit_ledger.as_of = ''2025-12-24 09:00 America/New_York''; in a transaction of a pooler, SET LOCAL.';
    END IF;
    IF asked ~ '^\s*\d{1,18}\s*$' THEN
        "position" := asked::bigint;
        IF "position" > head THEN
            RAISE EXCEPTION USING
                ERRCODE = 'AL010',
                MESSAGE = format('there is no position %s yet', "position"),
                DETAIL  = format('The last is %s.', head),
                HINT    = 'Ask as of a position that is on record.';
        END IF;
    ELSIF asked ~* '^\s*run\s' THEN
        given := replace(lower(trim(substring(asked FROM '(?i)^\s*run\s+(.*)$'))), '-', '');
        IF given !~ '^[0-9a-f]{1,32}$' THEN
            RAISE EXCEPTION USING
                ERRCODE = 'AL010',
                MESSAGE = 'this is no run id',
                DETAIL  = format('%L', asked),
                HINT    = 'Write run and its UUID, or its first digits.';
        END IF;
        low := rpad(given, 32, '0')::uuid;
        high := rpad(given, 32, 'f')::uuid;
        SELECT count(*) OVER () AS runs, r.run_id, f.id AS ended INTO run
          FROM data_ingestion_runs r
          LEFT JOIN data_ingestion_run_ends f ON f.data_ingestion_run_id = r.id AND f.first
         WHERE r.run_id BETWEEN low AND high
         LIMIT 1;
        "position" := run.ended;
        IF (run.runs IS NULL OR run.runs = 1 AND run.ended IS NULL)
           AND head > (SELECT min(p.position) FROM progress p) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'AL012',
                MESSAGE = 'the read models have not come that far yet',
                DETAIL  = format('They do not know of the end of %s; there are events that they have not read.', trim(asked)),
                HINT    = 'Bring them up as a writer: audit-ledger projections update. Then ask again.';
        END IF;
        IF run.runs IS DISTINCT FROM 1 OR "position" IS NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'AL010',
                MESSAGE = CASE WHEN run.runs IS NULL THEN 'there is no such run'
                               WHEN run.runs > 1     THEN 'several runs begin so'
                               ELSE 'the run has not ended' END,
                DETAIL  = format('%L', asked),
                HINT    = CASE WHEN run.runs = 1 THEN 'Ask as of an instant, or a position.'
                               ELSE 'Give the id of one run that has ended.' END;
        END IF;
    ELSE
        as_of := instant(asked);
        "position" := last_before(as_of);
    END IF;
    IF "position" = 0 OR begun IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL011',
            MESSAGE = 'the ledger had not begun',
            DETAIL  = coalesce('Its first event was recorded at ' || to_char(begun AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.USZ') || '.',
                               'It has no events yet.'),
            HINT    = 'Ask as of then, or later.';
    END IF;
END
$$;
COMMENT ON FUNCTION resolve(text) IS 'The position that a question is asked as of, and the instant, where it was asked by one.';

-- name: position
-- Views ask it in two ways: `id <= (SELECT "position"())` says which rows; `(SELECT "position"()) > 0` is of no row,
-- so it is asked before any is looked for. Without it, a question that finds no row would not be refused.
CREATE FUNCTION "position"() RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    asked  bigint := (SELECT r."position" FROM resolve(current_setting('audit_ledger.as_of', true)) r);
    folded bigint := (SELECT min(p.position) FROM progress p);
BEGIN
    IF folded < asked THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL012',
            MESSAGE = 'the read models have not come that far yet',
            DETAIL  = format('They are at position %s; the answer takes %s.', folded, asked),
            HINT    = 'Bring them up as a writer: audit-ledger projections update. Then ask again.';
    END IF;
    RETURN asked;
END
$$;
COMMENT ON FUNCTION "position"() IS
    'The position that audit_ledger.as_of means, once the read models have it. Always as (SELECT as_of.position()): once a query, not once a row.';

-- name: search_path
-- The functions look at what is live: there first, and in this schema, whose views ask them, last.
DO $$
DECLARE
    path text[] := current_schemas(false);
BEGIN
    EXECUTE format('ALTER FUNCTION resolve(text) SET search_path = %I, %I, %I, pg_temp', path[2], path[3], path[1]);
    EXECUTE format('ALTER FUNCTION "position"()  SET search_path = %I, %I, %I, pg_temp', path[2], path[3], path[1]);
END
$$;

-- name: answer
CREATE VIEW answer AS
SELECT o.id AS ledger_id, b.recorded_at AS begins_at, a.asked, r.as_of, r."position", e.recorded_at,
       r.as_of IS NULL OR h.recorded_at > r.as_of AS final,
       (SELECT count(*) FROM set_aside s WHERE s.position <= r."position") AS set_aside,
       (SELECT m.software_version FROM migrations m ORDER BY m.number DESC LIMIT 1) AS software_version
  FROM (SELECT current_setting('audit_ledger.as_of', true) AS asked) a
 CROSS JOIN LATERAL resolve(a.asked) r
 CROSS JOIN origin o
 CROSS JOIN head h
  JOIN events b ON b.position = 1
  JOIN events e ON e.position = r."position"
 WHERE (SELECT "position"()) > 0;
COMMENT ON VIEW   answer                  IS 'The header of every answer: as of when it is, and how sure that is.';
COMMENT ON COLUMN answer.ledger_id        IS 'The ledger.';
COMMENT ON COLUMN answer.begins_at        IS 'recorded_at of its first event: nothing is known from before.';
COMMENT ON COLUMN answer.asked            IS 'audit_ledger.as_of as it is set.';
COMMENT ON COLUMN answer.as_of            IS 'The instant that it means; NULL where a position or a run was asked for.';
COMMENT ON COLUMN answer."position"       IS 'The last event that the answer knows.';
COMMENT ON COLUMN answer.recorded_at      IS 'recorded_at of that event.';
COMMENT ON COLUMN answer.final            IS 'Whether the answer will stay the same for ever; else an event may still come at or before the instant.';
COMMENT ON COLUMN answer.set_aside        IS 'Events up to there that could not be folded, and are missing from the answer.';
COMMENT ON COLUMN answer.software_version IS 'Version of audit-ledger that made, or last migrated, the ledger.';

-- name: grants
DO $$
DECLARE
    ledger text := (SELECT c.relnamespace::regnamespace FROM pg_class c WHERE c.oid = 'events'::regclass);
BEGIN
    EXECUTE format('GRANT SELECT ON answer TO %I', ledger || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION instant(text), last_before(timestamptz), resolve(text), "position"() TO %I',
                   ledger || '_reader');
END
$$;
