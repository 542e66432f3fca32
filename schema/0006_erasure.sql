-- Erasing bodies: who refers to one, what forbids it, and the one function that does it.
--
-- An officer's session goes through one transaction: begin_erasure() locks and says which events refer to
-- the bodies; append() records BodyErased events that name them; erase_body() checks everything again and
-- deletes. The event comes first: no bytes go without an event that says so, since one transaction holds both.
--
-- run as: projector

-- name: body_scans
-- Looking for the events that refer to a body takes reading the log. What was found stays true, for the past
-- is final: so the log is read before anything is locked, and only its last events again under the locks.
CREATE TABLE body_scans (
    commitment text COLLATE "C" NOT NULL,
    upto       bigint           NOT NULL,
    positions  bigint[]         NOT NULL,
    CONSTRAINT body_scans_pkey PRIMARY KEY (commitment)
);
COMMENT ON TABLE  body_scans            IS 'How far the log was searched for events that refer to a body that is to be erased.';
COMMENT ON COLUMN body_scans.commitment IS 'The body (bodies).';
COMMENT ON COLUMN body_scans.upto       IS 'Position up to which the log was searched.';
COMMENT ON COLUMN body_scans.positions  IS 'Events whose state contains the commitment: all that refer to the body, and perhaps others.';

-- name: scan_for_bodies
CREATE FUNCTION scan_for_bodies(commitments text[]) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    last bigint;
BEGIN
    INSERT INTO body_scans (commitment, upto, positions)
    SELECT DISTINCT c, 0, '{}'::bigint[] FROM unnest(commitments) AS c ORDER BY c
    ON CONFLICT (commitment) DO NOTHING;
    PERFORM FROM body_scans s WHERE s.commitment = ANY (commitments) ORDER BY s.commitment FOR UPDATE;
    SELECT h.position INTO STRICT last FROM head h;
    WITH wanted AS MATERIALIZED (
        SELECT s.commitment, s.upto, convert_to(s.commitment, 'UTF8') AS bytes
          FROM body_scans s
         WHERE s.commitment = ANY (commitments)
    ), found AS (
        SELECT w.commitment, array_agg(e.position ORDER BY e.position) AS positions
          FROM wanted w
          JOIN events e ON e.position > w.upto AND e.position <= last
         WHERE e.type IN ('RecordIngested', 'ApiCallMade')
           AND position(w.bytes IN e.state) > 0
         GROUP BY w.commitment
    )
    UPDATE body_scans s
       SET upto = last,
           positions = s.positions || coalesce((SELECT f.positions FROM found f WHERE f.commitment = s.commitment), '{}')
     WHERE s.commitment = ANY (commitments) AND s.upto < last;
END
$$;
COMMENT ON FUNCTION scan_for_bodies(text[]) IS 'Search the log, from where it was searched before to its head, for events that refer to bodies.';

-- name: referrers_of
-- An event that was set aside since it could not be decoded (SQLSTATE class 22) refers to nothing. The planner
-- settings: each event is looked up by its position.
CREATE FUNCTION referrers_of(wanted text)
RETURNS TABLE ("position" bigint, recorded_at timestamptz, run_id uuid, record_type text, record_id text, endpoint text)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
AS $$
    WITH found AS MATERIALIZED (
        SELECT p.position
          FROM body_scans s CROSS JOIN unnest(s.positions) AS p(position)
         WHERE s.commitment = wanted
        EXCEPT
        SELECT a.position FROM set_aside a WHERE a.error_code LIKE '22%'
    )
    SELECT e.position, e.recorded_at, e.run_id, e.record_type, e.record_id, NULL
      FROM found f
      JOIN record_touched e ON e.position = f.position
     WHERE e.content = wanted
     UNION ALL
    SELECT e.position, e.recorded_at, e.run_id, NULL, NULL, e.endpoint
      FROM found f
      JOIN api_call_made e ON e.position = f.position
     WHERE wanted IN (e.request, e.response)
$$;
COMMENT ON FUNCTION referrers_of(text) IS 'The events that refer to a body, as far as the log was searched.';

-- name: catch_up_for_erasure
-- Locks: bodies first, then the log, as whoever stores bodies and appends takes them. From here on nobody
-- can refer to a body, nor add a hold, and the read models are those of the head.
CREATE FUNCTION catch_up_for_erasure(commitments text[]) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    progress record;
    wait integer := (SELECT setting FROM pg_settings WHERE name = 'lock_timeout')::integer;
BEGIN
    PERFORM pg_advisory_xact_lock(body_lock_key());
    PERFORM pg_advisory_xact_lock(append_lock_key());
    LOOP
        SELECT * INTO progress FROM update_read_models(20000, wait);
        EXIT WHEN progress.folded_upto >= progress.head_position;
    END LOOP;
    PERFORM scan_for_bodies(commitments);
END
$$;
COMMENT ON FUNCTION catch_up_for_erasure(text[]) IS 'Lock bodies and log; bring read models and searches up to the head.';

-- name: begin_erasure
CREATE FUNCTION begin_erasure(commitments text[])
RETURNS TABLE (commitment text, "position" bigint, run_id uuid, record_type text, record_id text, endpoint text)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM catch_up_for_erasure(commitments);
    RETURN QUERY
    SELECT c, r.position, r.run_id, r.record_type, r.record_id, r.endpoint
      FROM (SELECT DISTINCT unnest(commitments)) AS g(c) CROSS JOIN LATERAL referrers_of(g.c) r
     ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION begin_erasure(text[]) IS
    'Lock bodies and log for the rest of the transaction; returns the events that refer to the bodies, and what they are about.';

-- name: erase_body
-- xmin says which transaction inserted a row: a BodyErased event of an earlier one does not count.
CREATE FUNCTION erase_body(event_position bigint) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    erased    record;
    there     boolean;
    named     bigint[];
    referring bigint[];
    youngest  timestamptz;
    in_force  text;
    keep      integer;
BEGIN
    SELECT d.stream_id, d.commitment INTO erased
      FROM officer_event d JOIN events e ON e.position = d.position
     WHERE d.position = event_position AND d.type = 'BodyErased'
       AND e.recorded_by = session_user AND e.xmin = pg_current_xact_id()::xid;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL006',
            MESSAGE = format('position %s is no BodyErased event of this transaction', event_position),
            DETAIL  = 'Each erasure has events of its own, recorded by whoever erases, in the same transaction.',
            HINT    = 'Call begin_erasure(), append the events, then erase_body() with the position of the first.';
    END IF;
    IF NOT pg_try_advisory_xact_lock(body_lock_key()) THEN -- waiting for it after appending could be a deadlock
        RAISE EXCEPTION USING
            ERRCODE = 'AL006',
            MESSAGE = 'others are storing bodies, and begin_erasure() has not kept them out',
            HINT    = 'Call begin_erasure(), append the events, then erase_body() with the position of the first.';
    END IF;
    PERFORM catch_up_for_erasure(ARRAY[erased.commitment]);
    SELECT b.salt IS NOT NULL INTO there FROM bodies b WHERE b.commitment = erased.commitment;
    IF there IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL009',
            MESSAGE = format('the body %s is erased already, or was never there', erased.commitment),
            DETAIL  = coalesce((SELECT format('Erased by %s at position %s: %s', b.by, b.id, b.reason)
                                  FROM body_erasures b
                                 WHERE b.commitment = erased.commitment AND b.id < event_position
                                 ORDER BY b.id DESC LIMIT 1), 'No earlier event says that it was erased.'),
            HINT    = 'Nothing is left to erase.';
    END IF;
    SELECT array_agg(n ORDER BY n) INTO named
      FROM events e
      JOIN officer_event d ON d.position = e.position
     CROSS JOIN unnest(d.referrers) AS n
     WHERE e.stream_id = erased.stream_id AND e.xmin = pg_current_xact_id()::xid
       AND d.type = 'BodyErased' AND d.commitment = erased.commitment;
    SELECT array_agg(r.position ORDER BY r.position), max(r.recorded_at)
      INTO referring, youngest
      FROM referrers_of(erased.commitment) r;
    IF named IS DISTINCT FROM referring THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL006',
            MESSAGE = 'an erasure must name every event that refers to the body, and no other',
            DETAIL  = format('Named, and not referring: %s. Referring, and not named: %s.',
                             (SELECT coalesce(string_agg(n::text, ', '), 'none') FROM (
                                 SELECT unnest(named) EXCEPT SELECT unnest(referring) ORDER BY 1 LIMIT 10) AS t(n)),
                             (SELECT coalesce(string_agg(n::text, ', '), 'none') FROM (
                                 SELECT unnest(referring) EXCEPT SELECT unnest(named) ORDER BY 1 LIMIT 10) AS t(n))),
            HINT    = 'begin_erasure() returns the events to name.';
    END IF;
    WITH r AS MATERIALIZED (
        SELECT * FROM referrers_of(erased.commitment)
    ), covering AS (
        SELECT h.hold_id, h.by, h.reason
          FROM holds h
         WHERE NOT EXISTS (SELECT FROM hold_releases x WHERE x.hold_id = h.hold_id AND x.id > h.id)
           AND EXISTS (SELECT FROM r
                        WHERE r.run_id = h.run_id
                           OR r.record_type = h.record_type AND r.record_id = h.record_id
                           OR r.endpoint IS NOT NULL AND r.position = (h.payload_id + 1) / 2)
         ORDER BY h.id
         LIMIT 5
    )
    SELECT string_agg(format('%s by %s: %s', c.hold_id, c.by, c.reason), '; ') INTO in_force FROM covering c;
    IF in_force IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL007',
            MESSAGE = 'a hold forbids the erasure',
            DETAIL  = in_force,
            HINT    = 'Release the hold first: audit-ledger hold release HOLD_ID';
    END IF;
    SELECT c.days INTO keep FROM retention_changes c ORDER BY c.id DESC LIMIT 1;
    IF youngest + make_interval(hours => 24 * keep) > clock_timestamp() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL008',
            MESSAGE = format('bodies are kept for %s days after the last event that refers to them', keep),
            DETAIL  = format('The last was recorded on %s; it may be erased from %s on.',
                             to_char(youngest AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'),
                             to_char((youngest + make_interval(hours => 24 * keep)) AT TIME ZONE 'UTC',
                                     'YYYY-MM-DD HH24:MI:SS"Z"')),
            HINT    = 'Wait, or change the retention: audit-ledger retention set DAYS';
    END IF;
    PERFORM forget_body(erased.commitment);
    DELETE FROM body_scans s WHERE s.commitment = erased.commitment;
END
$$;
COMMENT ON FUNCTION erase_body(bigint) IS
    'Delete the body that a BodyErased event of this transaction names, unless a hold or the retention forbids it.';

-- name: grants
DO $$
DECLARE
    ledger text := regexp_replace(current_schema(), '_read$', '');
BEGIN
    EXECUTE format('GRANT SELECT ON body_scans TO %I', ledger || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION scan_for_bodies(text[]), begin_erasure(text[]), erase_body(bigint) TO %I',
                   ledger || '_officer');
END
$$;
