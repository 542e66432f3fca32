-- Sealing: leaves and their hashes by SQL, the tiles of the Merkle tree over them, and its signed checkpoints.
--
-- A sealer's session goes through one transaction: begin_seal() locks, and says what is sealed and what is there;
-- add_tiles() stores the hashes that are new; add_checkpoint() the signed statement of size and root. Formats are
-- those of C2SP tlog-tiles and tlog-checkpoint. Nobody who appends waits for it.

-- name: leaves
-- The bytes of each event that are hashed, as audit_ledger/evidence/leaf.py specifies them. Most are of one type,
-- for which nothing need be escaped: to_json takes a twentieth of the time of sealing.
CREATE VIEW leaves AS
SELECT position,
       position - 1 AS index,
       convert_to(
           '{"position":' || position
           || ',"recorded_at":"' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
           || '","recorded_by":' || to_json(recorded_by)
           || ',"stream_id":"' || stream_id
           || '","type":' || CASE type WHEN 'RecordIngested' THEN '"RecordIngested"' ELSE to_json(type)::text END
           || ',"version":' || version || E'}\n', 'UTF8') || state AS leaf
  FROM events;
COMMENT ON VIEW   leaves          IS 'The bytes of each event that are hashed into the Merkle tree.';
COMMENT ON COLUMN leaves.position IS 'The event. Ask by it: it has an index.';
COMMENT ON COLUMN leaves.index    IS 'Place of the leaf in the tree: from 0.';
COMMENT ON COLUMN leaves.leaf     IS 'A line of JSON with the event''s columns, a line feed, and its state as stored.';

-- name: leaf_hashes
CREATE VIEW leaf_hashes AS
SELECT position, index, sha256('\x00'::bytea || leaf) AS hash FROM leaves;
COMMENT ON VIEW   leaf_hashes          IS 'The hash of each event in the Merkle tree, computed from the event when it is asked for.';
COMMENT ON COLUMN leaf_hashes.position IS 'The event. Ask by it: it has an index.';
COMMENT ON COLUMN leaf_hashes.index    IS 'Place of the leaf in the tree: from 0.';
COMMENT ON COLUMN leaf_hashes.hash     IS 'SHA-256 of a zero byte and the leaf (RFC 6962 section 2.1).';

-- name: tiles
-- The tile of a smaller tree is the beginning of the tile of a larger one: a tile only grows.
CREATE TABLE tiles (
    level  smallint NOT NULL,
    number bigint   NOT NULL,
    hashes bytea    NOT NULL,
    CONSTRAINT tiles_pkey PRIMARY KEY (level, number),
    CONSTRAINT tiles_level_in_range CHECK (level BETWEEN 0 AND 7),
    CONSTRAINT tiles_number_not_negative CHECK (number >= 0),
    CONSTRAINT tiles_one_to_256_hashes CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes do not compress
COMMENT ON TABLE  tiles        IS 'The hashes of the Merkle tree, by tiles of 256 (C2SP tlog-tiles).';
COMMENT ON COLUMN tiles.level  IS '0: hashes of leaves. A hash of a level is the root of a full tile of the level below.';
COMMENT ON COLUMN tiles.number IS 'Place of the tile in its level: from 0.';
COMMENT ON COLUMN tiles.hashes IS '256 hashes of 32 bytes; fewer in the last tile of a level.';

-- name: checkpoints
CREATE TABLE checkpoints (
    size   bigint           NOT NULL,
    root   bytea            NOT NULL,
    note   bytea            NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (size),
    CONSTRAINT checkpoints_size_from_one CHECK (size > 0),
    CONSTRAINT checkpoints_root_is_a_hash CHECK (octet_length(root) = 32),
    CONSTRAINT checkpoints_key_id_hexadecimal CHECK (key_id ~ '^[0-9a-f]{8}$')
);
COMMENT ON TABLE  checkpoints        IS 'Signed statements of the ledger: at this size, its Merkle tree has this root.';
COMMENT ON COLUMN checkpoints.size   IS 'How many events it seals: all up to this position.';
COMMENT ON COLUMN checkpoints.root   IS 'The root hash of their tree (RFC 6962).';
COMMENT ON COLUMN checkpoints.note   IS 'The statement as it was signed, byte for byte (C2SP tlog-checkpoint).';
COMMENT ON COLUMN checkpoints.key_id IS 'Id of the key that signed it; where several did, of the newest, which goes on.';

-- name: guard_tiles
CREATE FUNCTION guard_tiles() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.level = OLD.level AND NEW.number = OLD.number
       AND octet_length(NEW.hashes) > octet_length(OLD.hashes)
       AND substring(NEW.hashes FROM 1 FOR octet_length(OLD.hashes)) = OLD.hashes THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'AL001',
        MESSAGE = format('UPDATE of %I.%I is refused: a tile only grows', TG_TABLE_SCHEMA, TG_TABLE_NAME),
        DETAIL  = format('Tile %s of level %s was to be changed.', OLD.number, OLD.level),
        HINT    = 'Seal with audit-ledger seal, which appends hashes.';
END
$$;
COMMENT ON FUNCTION guard_tiles() IS 'Trigger: refuse every change of a tile but hashes behind those it has.';
-- What is sealed stays as it is, until a recovery closes its origin, and moves it (0009_anchors.sql).
CREATE FUNCTION refuse_unless_closing() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'DELETE' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'AL001',
        MESSAGE = format('%s of %I.%I is refused: the ledger is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME),
        HINT    = 'Leave what is sealed as it is: checkpoints and proofs that were given away depend on it.';
END
$$;
COMMENT ON FUNCTION refuse_unless_closing() IS 'Trigger: refuse UPDATE, DELETE and TRUNCATE that no trigger makes.';
CREATE TRIGGER tiles_grow BEFORE UPDATE ON tiles
    FOR EACH ROW EXECUTE FUNCTION guard_tiles();
ALTER TABLE tiles ENABLE ALWAYS TRIGGER tiles_grow;
CREATE TRIGGER tiles_immutable BEFORE DELETE OR TRUNCATE ON tiles
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unless_closing();
ALTER TABLE tiles ENABLE ALWAYS TRIGGER tiles_immutable;
CREATE TRIGGER checkpoints_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unless_closing();
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_immutable;

-- name: seal_lock_key
-- 'seal' in the high half, the oid of the tiles in the low half. It is not the lock of appending.
CREATE FUNCTION seal_lock_key() RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (x'7365616c'::bigint << 32) | 'tiles'::regclass::oid::bigint;
COMMENT ON FUNCTION seal_lock_key() IS 'Key of the transaction advisory lock under which one sealer at a time works.';

-- name: begin_seal
-- Takes the lock, then reads in a statement of its own, which sees what the sealer before has committed.
CREATE FUNCTION begin_seal(
    OUT origin text, OUT last_position bigint, OUT size bigint, OUT root bytea, OUT note bytea, OUT key_id text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(seal_lock_key());
    IF (SELECT h.refuses FROM head h) THEN
        PERFORM say_refusal();
    END IF;
    SELECT o.id::text, h.position, coalesce(c.size, 0), c.root, c.note, c.key_id
      INTO STRICT begin_seal.origin, begin_seal.last_position, begin_seal.size, begin_seal.root, begin_seal.note, begin_seal.key_id
      FROM origin o
     CROSS JOIN head h
      LEFT JOIN (SELECT * FROM checkpoints k ORDER BY k.size DESC LIMIT 1) c ON true;
END
$$;
COMMENT ON FUNCTION begin_seal() IS
    'Lock sealing for the rest of the transaction; returns the origin, the last position, and the last checkpoint.';

-- name: add_tiles
-- Hashes go on from those that are stored: a tile needs a full one before it, and guard_tiles lets it only grow.
CREATE FUNCTION add_tiles(levels smallint[], numbers bigint[], contents bytea[]) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    wrong record;
BEGIN
    PERFORM pg_advisory_xact_lock(seal_lock_key());
    SELECT o.level, o.number
      INTO wrong
      FROM (SELECT u.level, u.number,
                   lag(u.number) OVER in_level AS before, lag(octet_length(u.hashes)) OVER in_level AS bytes
              FROM unnest(levels, numbers, contents) AS u(level, number, hashes)
            WINDOW in_level AS (PARTITION BY u.level ORDER BY u.number)) o
     WHERE o.number > 0
       AND (o.before = o.number - 1 AND o.bytes = 8192) IS NOT TRUE
       AND NOT EXISTS (SELECT FROM tiles t
                        WHERE t.level = o.level AND t.number = o.number - 1 AND octet_length(t.hashes) = 8192)
     ORDER BY o.level, o.number
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL013',
            MESSAGE = 'the tiles do not go on from those that are stored',
            DETAIL  = format('Tile %s of level %s has no full tile before it.', wrong.number, wrong.level),
            HINT    = 'Seal with audit-ledger seal, one transaction a checkpoint.';
    END IF;
    INSERT INTO tiles (level, number, hashes)
    SELECT u.level, u.number, u.hashes
      FROM unnest(levels, numbers, contents) AS u(level, number, hashes)
    ON CONFLICT ON CONSTRAINT tiles_pkey DO UPDATE SET hashes = excluded.hashes;
END
$$;
COMMENT ON FUNCTION add_tiles(smallint[], bigint[], bytea[]) IS 'Store tiles that go on from those that are there.';

-- name: add_checkpoint
CREATE FUNCTION add_checkpoint(new_size bigint, new_root bytea, new_note bytea, new_key_id text) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    sealed bigint;
    last   bigint;
    wrong  record;
BEGIN
    PERFORM pg_advisory_xact_lock(seal_lock_key());
    SELECT coalesce(max(c.size), 0) INTO sealed FROM checkpoints c;
    SELECT h.position INTO STRICT last FROM head h;
    IF new_size <= sealed OR new_size > last THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL013',
            MESSAGE = format('a checkpoint of size %s does not go on from the last one', new_size),
            DETAIL  = format('The last checkpoint has size %s, the ledger %s events.', sealed, last),
            HINT    = 'Seal with audit-ledger seal, which takes the next size.';
    END IF;
    SELECT l.level, l.due, l.there
      INTO wrong
      FROM (SELECT g.level, new_size >> 8 * g.level AS due,
                   coalesce((SELECT t.number * 256 + octet_length(t.hashes) / 32
                               FROM tiles t
                              WHERE t.level = g.level
                              ORDER BY t.number DESC
                              LIMIT 1), 0) AS there
              FROM generate_series(0, 7) AS g(level)) l
     WHERE l.due <> l.there
     ORDER BY l.level
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AL013',
            MESSAGE = format('the tiles are not those of a checkpoint of size %s', new_size),
            DETAIL  = format('Level %s has %s hashes; due are %s.', wrong.level, wrong.there, wrong.due),
            HINT    = 'Store the tiles first, in the same transaction: audit-ledger seal does.';
    END IF;
    INSERT INTO checkpoints (size, root, note, key_id) VALUES (new_size, new_root, new_note, new_key_id);
    PERFORM pg_notify(current_schema() || '_checkpoints', new_size::text);
END
$$;
COMMENT ON FUNCTION add_checkpoint(bigint, bytea, bytea, text) IS
    'Store a signed checkpoint that is larger than the last one and has its tiles; then notify.';

-- name: announce_key
-- The one event that a sealer appends, and nobody else may: a script that could would name a key of its own.
CREATE FUNCTION announce_key(stream_id uuid, version bigint, state bytea) RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT append(ARRAY[stream_id], ARRAY[version], ARRAY['KeyRotated'], ARRAY[state]);
$$;
COMMENT ON FUNCTION announce_key(uuid, bigint, bytea) IS
    'Append a KeyRotated event: from its checkpoint on, another key signs; returns its position.';

-- name: grants
-- The sealer seals and reads. It does not append, and no writer seals.
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT ON leaves, leaf_hashes, tiles, checkpoints TO %I', ledger || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION seal_lock_key(), begin_seal(), add_tiles(smallint[], bigint[], bytea[]), add_checkpoint(bigint, bytea, bytea, text), announce_key(uuid, bigint, bytea) TO %I', ledger || '_sealer');
END
$$;
