-- The event store: one append-only table, the head that orders it, and the guards that keep it so.
--
-- Run once, as the ledger's owner, with search_path set to the ledger's schema; every name below is
-- therefore unqualified. The roles are named after the schema: NAME_writer, NAME_officer, NAME_reader,
-- NAME_projector.

-- name: origins
-- Who this ledger is: the names under which its checkpoints are signed. One row is made at init, another by each
-- recovery (0009_anchors.sql); the last one counts.
CREATE TABLE origins (
    number         integer     NOT NULL,
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    after_position bigint      NOT NULL,
    opened_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT origins_pkey PRIMARY KEY (number),
    CONSTRAINT origins_id UNIQUE (id),
    CONSTRAINT origins_number_from_one CHECK (number > 0),
    CONSTRAINT origins_after_position_not_negative CHECK (after_position >= 0)
);
COMMENT ON TABLE  origins                IS 'The identities that this ledger has had; the last one counts.';
COMMENT ON COLUMN origins.number         IS 'Place among them, from 1: made at init; those that follow, by recoveries.';
COMMENT ON COLUMN origins.id             IS 'The ledger id, a UUID that no other ledger shares, and the origin of its checkpoints.';
COMMENT ON COLUMN origins.after_position IS 'The last position when it was opened; the event behind it says why.';
COMMENT ON COLUMN origins.opened_at      IS 'When, by the database clock; of those that follow the first, recorded_at of that event.';
INSERT INTO origins (number, after_position) VALUES (1, 0);

-- name: origin
CREATE VIEW origin AS
SELECT last.id, first.id AS made_as, first.opened_at AS created_at
  FROM (SELECT o.id FROM origins o ORDER BY o.number DESC LIMIT 1) last
 CROSS JOIN (SELECT o.id, o.opened_at FROM origins o ORDER BY o.number LIMIT 1) first;
COMMENT ON VIEW   origin            IS 'The identity of this ledger; one row.';
COMMENT ON COLUMN origin.id         IS 'The ledger id, and the origin of its checkpoints.';
COMMENT ON COLUMN origin.made_as    IS 'The id that it was made with: streams of its own and spools are named after it for ever.';
COMMENT ON COLUMN origin.created_at IS 'When the ledger was made, by the database clock.';

-- name: events
-- The log. Every other table of the product can be recomputed from it.
CREATE TABLE events (
    position    bigint           NOT NULL,
    recorded_at timestamptz      NOT NULL,
    stream_id   uuid             NOT NULL,
    version     bigint           NOT NULL,
    recorded_by text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    state       bytea            NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_stream_version UNIQUE (stream_id, version),
    CONSTRAINT events_position_from_one CHECK (position > 0),
    CONSTRAINT events_version_not_negative CHECK (version >= 0),
    -- The comparison spares by far the most frequent type the regular expression.
    CONSTRAINT events_type_printable_ascii CHECK (type = 'RecordIngested' OR type ~ '^[ !#-[\]-~]+$')
);
COMMENT ON TABLE  events             IS 'The immutable event log, in commit order.';
COMMENT ON COLUMN events.position    IS 'Place in the ledger: from 1, without gaps, in commit order.';
COMMENT ON COLUMN events.recorded_at IS 'When the ledger recorded it, by the database clock; never decreases with position.';
COMMENT ON COLUMN events.stream_id   IS 'The stream; for the events of a run, its run_id.';
COMMENT ON COLUMN events.version     IS 'Place in the stream; what audit-ledger writes starts at 1.';
COMMENT ON COLUMN events.recorded_by IS 'The database role that recorded it (session_user).';
COMMENT ON COLUMN events.type        IS 'The kind of fact, e.g. RunStarted; printable ASCII without quote or backslash.';
COMMENT ON COLUMN events.state       IS 'The exact bytes of the event: canonical JSON, UTF-8.';

-- name: head
-- The last position and its time. Moved by the guard alone.
CREATE TABLE head (
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    refuses     boolean     NOT NULL DEFAULT false,
    one_row     boolean     NOT NULL DEFAULT true,
    CONSTRAINT head_pkey PRIMARY KEY (one_row),
    CONSTRAINT head_one_row CHECK (one_row)
) WITH (fillfactor = 10);
COMMENT ON TABLE  head             IS 'The last position of the log; one row, moved by the guard of events.';
COMMENT ON COLUMN head.position    IS 'The last position; 0 while the log is empty.';
COMMENT ON COLUMN head.recorded_at IS 'recorded_at of that position; -infinity while the log is empty.';
COMMENT ON COLUMN head.refuses     IS 'Whether events are refused, since a checkpoint kept elsewhere convicts this ledger (refusals).';
COMMENT ON COLUMN head.one_row     IS 'Always true: keeps the table at one row.';
INSERT INTO head (position, recorded_at) VALUES (0, '-infinity');

-- name: append_lock_key
-- The key of the advisory lock under which positions are assigned: 'audi' in the high half, the
-- oid of the events table in the low half, so that every ledger of a database has its own.
CREATE FUNCTION append_lock_key() RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (x'61756469'::bigint << 32) | 'events'::regclass::oid::bigint;
COMMENT ON FUNCTION append_lock_key() IS 'Key of the transaction advisory lock that orders appends.';

-- name: begin_append
-- Takes the lock, then reads the head in a statement of its own: in READ COMMITTED that statement
-- sees all that committed before the lock was granted.
CREATE FUNCTION begin_append(
    OUT last_position bigint, OUT now_recorded_at timestamptz, OUT now_recorded_by text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock_key());
    SELECT position, greatest(clock_timestamp(), recorded_at), session_user
      INTO STRICT last_position, now_recorded_at, now_recorded_by
      FROM head;
END
$$;
COMMENT ON FUNCTION begin_append() IS
    'Lock the ledger for the rest of the transaction; returns the last position, and the recorded_at and recorded_by to use.';

-- name: append
-- A small batch in one round trip. Positions are the first one returned and those that follow, in
-- the order of the arrays.
CREATE FUNCTION append(stream_ids uuid[], versions bigint[], types text[], states bytea[])
RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    last_position   bigint;
    now_recorded_at timestamptz;
BEGIN
    SELECT a.last_position, a.now_recorded_at INTO last_position, now_recorded_at FROM begin_append() a;
    INSERT INTO events (position, recorded_at, stream_id, version, recorded_by, type, state)
    SELECT last_position + e.n, now_recorded_at, e.stream_id, e.version, session_user, e.type, e.state
      FROM unnest(stream_ids, versions, types, states)
           WITH ORDINALITY AS e(stream_id, version, type, state, n);
    RETURN last_position + 1;
END
$$;
COMMENT ON FUNCTION append(uuid[], bigint[], text[], bytea[]) IS
    'Append a small batch of events; returns the first position.';

-- name: lock_before_append
-- Nobody writes without the lock, whatever statement they use.
CREATE FUNCTION lock_before_append() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock_key());
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lock_before_append() IS 'Trigger: take the append lock before any INSERT or COPY.';
CREATE TRIGGER events_lock BEFORE INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION lock_before_append();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_lock;

-- name: guard_append
-- Compares the rows past the head with the head, then moves it. Set-based and after the fact: row
-- triggers and volatile defaults would switch off COPY's multi-insert. A position at or below the
-- head cannot get this far: the primary key holds every one of them already. The planner settings
-- hold it to the primary key, whatever it believes of a table that grows without end.
CREATE FUNCTION guard_append() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_bitmapscan = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    last record;
    new  record;
    now_at timestamptz := clock_timestamp();
    recovery boolean := false;
BEGIN
    SELECT position, recorded_at, refuses INTO STRICT last FROM head;
    SELECT count(*) AS rows, max(e.position) AS position,
           min(e.recorded_at) AS earliest, max(e.recorded_at) AS latest,
           min(e.recorded_by) AS least_by, max(e.recorded_by) AS greatest_by,
           bool_or(e.type IN ('BodyErased', 'HoldAdded', 'HoldReleased', 'KeyRotated', 'LedgerRecovered', 'RetentionChanged')) AS reserved
      INTO new
      FROM events e
     WHERE e.position > last.position;
    IF new.rows = 0 THEN
        RETURN NULL;
    END IF;
    IF new.reserved THEN
        recovery := EXISTS (SELECT FROM events e WHERE e.position > last.position AND e.type = 'LedgerRecovered');
    END IF;
    IF last.refuses AND NOT recovery THEN
        PERFORM say_refusal();
    END IF;
    IF new.position <> last.position + new.rows THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL002',
            MESSAGE = format('positions must go on from %s without a gap', last.position),
            DETAIL  = format('%s events ending at position %s were offered.', new.rows, new.position),
            HINT    = 'Append through append(), or read begin_append() in the same transaction.';
    END IF;
    IF new.least_by <> session_user OR new.greatest_by <> session_user THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL003',
            MESSAGE = format('recorded_by must be the role that connected, %s', session_user),
            DETAIL  = format('%s was offered.', CASE WHEN new.least_by <> session_user THEN new.least_by ELSE new.greatest_by END),
            HINT    = 'Record as yourself; what a script says of itself belongs in actor.';
    END IF;
    IF new.reserved AND EXISTS (SELECT FROM events e WHERE e.position > last.position AND e.type = 'KeyRotated')
       AND NOT pg_has_role(session_user, TG_TABLE_SCHEMA || '_sealer', 'MEMBER') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL016',
            MESSAGE = 'only a sealer may announce a key',
            DETAIL  = format('%s is no member of %s_sealer.', session_user, TG_TABLE_SCHEMA),
            HINT    = format('Connect as %s_sealer, or as a member of it, who has the key.', TG_TABLE_SCHEMA);
    END IF;
    IF new.reserved AND NOT pg_has_role(session_user, TG_TABLE_SCHEMA || '_officer', 'MEMBER')
       AND EXISTS (SELECT FROM events e
                    WHERE e.position > last.position
                      AND e.type IN ('BodyErased', 'HoldAdded', 'HoldReleased', 'LedgerRecovered', 'RetentionChanged')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL005',
            MESSAGE = 'only an officer may erase bodies, add and release holds, set the retention, and recover the ledger',
            DETAIL  = format('%s is no member of %s_officer.', session_user, TG_TABLE_SCHEMA),
            HINT    = format('Connect as %s_officer, or as a member of it.', TG_TABLE_SCHEMA);
    END IF;
    IF new.earliest <> new.latest
       OR new.latest < greatest(last.recorded_at, now_at - interval '10 seconds')
       OR new.latest > greatest(last.recorded_at, now_at) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL004',
            MESSAGE = 'recorded_at must be one value, read from begin_append() in the same transaction',
            DETAIL  = format('Offered %s to %s; the last event has %s and the clock says %s.',
                             new.earliest, new.latest, last.recorded_at, now_at),
            HINT    = 'Append through append(), or in smaller batches.';
    END IF;
    UPDATE head SET position = new.position, recorded_at = new.latest;
    IF recovery THEN
        PERFORM open_origin(last.position);
    END IF;
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_events', '');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION guard_append() IS
    'Trigger: refuse positions, roles and times that do not follow from the head, and what only officers or sealers may; then move the head and notify.';
CREATE TRIGGER events_guard AFTER INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION guard_append();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_guard;

-- name: refuse_change
-- The log only grows, whoever asks.
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'AL001',
        MESSAGE = format('%s of %I.%I is refused: the ledger is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME),
        HINT    = 'Append a correction that names the position it corrects.';
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Trigger: refuse UPDATE, DELETE and TRUNCATE.';
CREATE TRIGGER events_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_immutable;


-- name: guard_origins
-- Origins are opened from inside the guard of events only.
CREATE FUNCTION guard_origins() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'AL001',
        MESSAGE = format('%s of %I.%I is refused: a recovery opens an origin', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME),
        HINT    = 'audit-ledger recover, as an officer.';
END
$$;
COMMENT ON FUNCTION guard_origins() IS 'Trigger: refuse every change of origins that the guard of events does not make.';
CREATE TRIGGER origins_immutable BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON origins
    FOR EACH STATEMENT EXECUTE FUNCTION guard_origins();
ALTER TABLE origins ENABLE ALWAYS TRIGGER origins_immutable;

-- name: guard_head
-- The head moves from inside triggers only: the guard of events, and those of refusals and origins.
CREATE FUNCTION guard_head() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'AL001',
        MESSAGE = format('%s of %I.%I is refused: appending moves the head', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME),
        HINT    = 'Append events; the head follows.';
END
$$;
COMMENT ON FUNCTION guard_head() IS 'Trigger: refuse every change of head that no trigger makes.';
CREATE TRIGGER head_immutable BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON head
    FOR EACH STATEMENT EXECUTE FUNCTION guard_head();
ALTER TABLE head ENABLE ALWAYS TRIGGER head_immutable;

-- name: grants
-- The writer appends, the reader reads, the projector folds; nobody else does anything.
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT ON origins, origin, events, head TO %I, %I', ledger || '_reader', ledger || '_projector');
    EXECUTE format('GRANT INSERT ON events TO %I', ledger || '_writer');
    EXECUTE format('GRANT EXECUTE ON FUNCTION append_lock_key(), begin_append(), append(uuid[], bigint[], text[], bytea[]), lock_before_append() TO %I', ledger || '_writer');
END
$$;
