-- Anchors: checkpoints that went out, to folders and to timestamping authorities; refusals, where one of them convicts
-- this ledger; and recoveries, each of which opens another origin.
--
-- A ledger that is smaller than a checkpoint that is kept elsewhere, or does not continue it, was rewritten, or an old
-- copy of it was restored. Whoever finds that calls refuse_appends(): from then on nobody appends or seals, whoever
-- connects, until an officer records a LedgerRecovered event, which opens another origin.

-- name: anchors
CREATE TABLE anchors (
    number      bigint           GENERATED ALWAYS AS IDENTITY,
    origin      uuid             NOT NULL,
    size        bigint           NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    name        text             NOT NULL,
    stated_at   timestamptz      NOT NULL,
    token       bytea,
    anchored_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT anchors_pkey PRIMARY KEY (number),
    CONSTRAINT anchors_once UNIQUE (origin, size, kind, name),
    CONSTRAINT anchors_size_from_one CHECK (size > 0),
    CONSTRAINT anchors_kind_is_known CHECK (kind IN ('folder', 'timestamp')),
    CONSTRAINT anchors_token_of_timestamps CHECK ((token IS NOT NULL) = (kind = 'timestamp'))
);
COMMENT ON TABLE  anchors             IS 'Which checkpoints went out, where to, and when.';
COMMENT ON COLUMN anchors.number      IS 'Place among the anchors.';
COMMENT ON COLUMN anchors.origin      IS 'The origin of the checkpoint.';
COMMENT ON COLUMN anchors.size        IS 'Its size: it covers all events up to this position.';
COMMENT ON COLUMN anchors.kind        IS 'folder: a file of it was written; timestamp: a timestamping authority signed its digest (RFC 3161).';
COMMENT ON COLUMN anchors.name        IS 'The folder, or the name of the authority in ledger.toml.';
COMMENT ON COLUMN anchors.stated_at   IS 'When, as the authority states it; of a folder, by the clock of whoever wrote the file.';
COMMENT ON COLUMN anchors.token       IS 'The response of the authority, byte for byte; NULL of a folder.';
COMMENT ON COLUMN anchors.anchored_at IS 'When it was noted here, by the database clock.';
CREATE TRIGGER anchors_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON anchors
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE anchors ENABLE ALWAYS TRIGGER anchors_immutable;

-- name: add_anchor
-- Two may anchor the same checkpoint at the same moment: the first counts.
CREATE FUNCTION add_anchor(new_size bigint, new_kind text, new_name text, new_stated_at timestamptz, new_token bytea)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM checkpoints c WHERE c.size = new_size) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL013',
            MESSAGE = format('there is no checkpoint of size %s to be anchored', new_size),
            DETAIL  = format('The last checkpoint has size %s.', (SELECT coalesce(max(c.size), 0) FROM checkpoints c)),
            HINT    = 'Anchor with audit-ledger anchor.';
    END IF;
    INSERT INTO anchors (origin, size, kind, name, stated_at, token)
    SELECT o.id, new_size, new_kind, new_name, new_stated_at, new_token FROM origin o
    ON CONFLICT ON CONSTRAINT anchors_once DO NOTHING;
END
$$;
COMMENT ON FUNCTION add_anchor(bigint, text, text, timestamptz, bytea) IS 'Note that a checkpoint of this ledger went out.';

-- name: refusals
CREATE TABLE refusals (
    number     bigint           GENERATED ALWAYS AS IDENTITY,
    refused_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    refused_by text COLLATE "C" NOT NULL DEFAULT session_user,
    origin     uuid             NOT NULL,
    size       bigint           NOT NULL,
    note       bytea            NOT NULL,
    expected   text             NOT NULL,
    actual     text             NOT NULL,
    CONSTRAINT refusals_pkey PRIMARY KEY (number),
    CONSTRAINT refusals_size_from_one CHECK (size > 0)
);
COMMENT ON TABLE  refusals            IS 'Why this ledger refused, or refuses, events: a checkpoint that was kept elsewhere convicts it.';
COMMENT ON COLUMN refusals.number     IS 'Place among the refusals.';
COMMENT ON COLUMN refusals.refused_at IS 'When it was found, by the database clock.';
COMMENT ON COLUMN refusals.refused_by IS 'The database role that found it.';
COMMENT ON COLUMN refusals.origin     IS 'The origin that was in force.';
COMMENT ON COLUMN refusals.size       IS 'The size of that checkpoint.';
COMMENT ON COLUMN refusals.note       IS 'That checkpoint, byte for byte.';
COMMENT ON COLUMN refusals.expected   IS 'What it states, and where it was found.';
COMMENT ON COLUMN refusals.actual     IS 'What is here instead.';
CREATE TRIGGER refusals_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON refusals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE refusals ENABLE ALWAYS TRIGGER refusals_immutable;

-- name: begin_refusing
-- The head carries it, since the guard of events reads the head anyway.
CREATE FUNCTION begin_refusing() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    UPDATE head SET refuses = true;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION begin_refusing() IS 'Trigger: after a refusal was noted, let the head refuse events.';
CREATE TRIGGER refusals_begin AFTER INSERT ON refusals
    FOR EACH STATEMENT EXECUTE FUNCTION begin_refusing();
ALTER TABLE refusals ENABLE ALWAYS TRIGGER refusals_begin;

-- name: refuse_appends
-- Under the append lock, so that all that is appended later sees it. That the checkpoint is signed is checked by who
-- calls; a writer who lies stops the ledger, loudly and by name, as one who holds the append lock could.
CREATE FUNCTION refuse_appends(of_origin uuid, of_size bigint, of_note bytea, was_expected text, was_actual text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock_key());
    IF of_origin <> (SELECT o.id FROM origin o) OR (SELECT h.refuses FROM head h) THEN
        RETURN false;
    END IF;
    INSERT INTO refusals (origin, size, note, expected, actual)
    VALUES (of_origin, of_size, of_note, was_expected, was_actual);
    RETURN true;
END
$$;
COMMENT ON FUNCTION refuse_appends(uuid, bigint, bytea, text, text) IS
    'Refuse events from now on, since a checkpoint that was kept elsewhere convicts this ledger; whether that is new.';

-- name: say_refusal
CREATE FUNCTION say_refusal() RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    last record;
BEGIN
    SELECT r.size, r.expected, r.actual, r.refused_at INTO last FROM refusals r ORDER BY r.number DESC LIMIT 1;
    RAISE EXCEPTION USING
        ERRCODE = 'AL020',
        MESSAGE = format('the ledger refuses events: it does not continue its checkpoint of size %s that was kept elsewhere', last.size),
        DETAIL  = format('expected %s; found %s, on %s', last.expected, last.actual,
                         to_char(last.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')),
        HINT    = 'Restore the right database; where there is none, an officer opens a new origin: audit-ledger recover';
END
$$;
COMMENT ON FUNCTION say_refusal() IS 'Raise the error that says why events are refused.';

-- name: closed_checkpoints
CREATE TABLE closed_checkpoints (
    origin uuid             NOT NULL,
    size   bigint           NOT NULL,
    root   bytea            NOT NULL,
    note   bytea            NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    CONSTRAINT closed_checkpoints_pkey PRIMARY KEY (origin, size)
);
COMMENT ON TABLE  closed_checkpoints        IS 'The checkpoints of origins that recoveries have closed.';
COMMENT ON COLUMN closed_checkpoints.origin IS 'Their origin.';
COMMENT ON COLUMN closed_checkpoints.size   IS 'As in checkpoints.';
COMMENT ON COLUMN closed_checkpoints.root   IS 'As in checkpoints.';
COMMENT ON COLUMN closed_checkpoints.note   IS 'As in checkpoints.';
COMMENT ON COLUMN closed_checkpoints.key_id IS 'As in checkpoints.';

-- name: closed_tiles
CREATE TABLE closed_tiles (
    origin uuid     NOT NULL,
    level  smallint NOT NULL,
    number bigint   NOT NULL,
    hashes bytea    NOT NULL,
    CONSTRAINT closed_tiles_pkey PRIMARY KEY (origin, level, number)
);
ALTER TABLE closed_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE  closed_tiles        IS 'The tiles of origins that recoveries have closed.';
COMMENT ON COLUMN closed_tiles.origin IS 'Their origin.';
COMMENT ON COLUMN closed_tiles.level  IS 'As in tiles.';
COMMENT ON COLUMN closed_tiles.number IS 'As in tiles.';
COMMENT ON COLUMN closed_tiles.hashes IS 'As in tiles.';
DO $$
DECLARE
    closed text;
BEGIN
    FOREACH closed IN ARRAY ARRAY['closed_checkpoints', 'closed_tiles'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', closed || '_immutable', closed);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', closed, closed || '_immutable');
    END LOOP;
END
$$;

-- name: close_origin
-- What was sealed under the origin before may not be what the events are now: the new one seals all of them anew.
CREATE FUNCTION close_origin() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    closed uuid := (SELECT o.id FROM origins o WHERE o.number = NEW.number - 1);
BEGIN
    INSERT INTO closed_checkpoints (origin, size, root, note, key_id)
    SELECT closed, c.size, c.root, c.note, c.key_id FROM checkpoints c;
    INSERT INTO closed_tiles (origin, level, number, hashes)
    SELECT closed, t.level, t.number, t.hashes FROM tiles t;
    DELETE FROM checkpoints;
    DELETE FROM tiles;
    UPDATE head SET refuses = false;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION close_origin() IS
    'Trigger: where another origin is opened, put away what was sealed under the one before, and take events again.';
CREATE TRIGGER origins_close AFTER INSERT ON origins
    FOR EACH ROW EXECUTE FUNCTION close_origin();
ALTER TABLE origins ENABLE ALWAYS TRIGGER origins_close;

-- name: open_origin
-- The guard of events calls it for a LedgerRecovered event, which only an officer may append, and which opens the origin
-- that its stream is named after.
CREATE FUNCTION open_origin(after_position bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    alone boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(seal_lock_key());
    SELECT count(*) = 1 INTO alone FROM events e WHERE e.position > after_position;
    IF NOT alone THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL021',
            MESSAGE = 'a LedgerRecovered event is appended by itself',
            HINT    = 'Recover with audit-ledger recover.';
    END IF;
    INSERT INTO origins (number, id, after_position, opened_at)
    SELECT (SELECT max(o.number) + 1 FROM origins o), e.stream_id, after_position, e.recorded_at
      FROM events e
     WHERE e.position > after_position;
END
$$;
COMMENT ON FUNCTION open_origin(bigint) IS 'Open another origin, behind that position, which takes and seals events again.';

-- name: grants
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT ON anchors, refusals, closed_checkpoints, closed_tiles TO %I', ledger || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION add_anchor(bigint, text, text, timestamptz, bytea), say_refusal() TO %I', ledger || '_sealer');
    EXECUTE format('GRANT EXECUTE ON FUNCTION refuse_appends(uuid, bigint, bytea, text, text) TO %I, %I', ledger || '_writer', ledger || '_sealer');
END
$$;
