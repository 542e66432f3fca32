-- Bodies: bytes kept outside the log. The log holds a body's commitment only, so that the bytes can
-- be erased one day without breaking a proof. Written through put_bodies() alone.

-- name: bodies
-- Same bytes, same row, same commitment: a body is stored once.
CREATE TABLE bodies (
    commitment text COLLATE "C" NOT NULL,
    salt       bytea,
    sha256     bytea,
    size       bigint           NOT NULL,
    media_type text             NOT NULL,
    content    bytea,
    CONSTRAINT bodies_pkey PRIMARY KEY (commitment),
    CONSTRAINT bodies_sha256 UNIQUE (sha256),
    CONSTRAINT bodies_commitment_form CHECK (commitment ~ '^[A-Za-z0-9_-]{43}$'),
    CONSTRAINT bodies_salt_is_32_bytes CHECK (octet_length(salt) = 32),
    CONSTRAINT bodies_sha256_is_32_bytes CHECK (octet_length(sha256) = 32),
    -- There: all three; not kept, since it was too large: the salt alone; erased: none of them.
    CONSTRAINT bodies_there_unkept_or_erased CHECK (
        (sha256 IS NULL) = (content IS NULL) AND (salt IS NOT NULL OR content IS NULL))
);
COMMENT ON TABLE  bodies            IS 'Bytes kept outside the log: HTTP messages and the contents of records.';
COMMENT ON COLUMN bodies.commitment IS 'HMAC-SHA256 of the bytes, keyed with the salt; base64url without padding. The log refers to a body by it.';
COMMENT ON COLUMN bodies.salt       IS '32 random bytes, the key of the commitment; NULL once erased.';
COMMENT ON COLUMN bodies.sha256     IS 'SHA-256 of the bytes, by which the same bytes are found again; NULL where they are not here.';
COMMENT ON COLUMN bodies.size       IS 'Number of bytes.';
COMMENT ON COLUMN bodies.media_type IS 'Media type (RFC 6838) that the bytes were first given with.';
COMMENT ON COLUMN bodies.content    IS 'The bytes, compressed by PostgreSQL; NULL once erased, or where there were too many to keep.';

-- name: body_lock_key
-- The key of the advisory lock between those who refer to bodies (shared, from storing them to the end of
-- the transaction that appends the events) and those who erase them (exclusive): 'body' in the high half.
CREATE FUNCTION body_lock_key() RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (x'626f6479'::bigint << 32) | 'bodies'::regclass::oid::bigint;
COMMENT ON FUNCTION body_lock_key() IS 'Key of the transaction advisory lock that keeps erasing and referring apart.';

-- name: put_bodies
-- Until the caller's transaction ends, none of these bodies is erased: it appends the events that refer to them.
-- Stores those bodies that are not there yet; returns the commitment of each, in order. Rows go in
-- by SHA-256, so that two callers with the same bodies cannot deadlock. Without content it is a body that was
-- too large to keep, of which nothing is there to compare: its caller's commitment is taken.
CREATE FUNCTION put_bodies(contents bytea[], media_types text[], salts bytea[], commitments text[], sizes bigint[])
RETURNS text[]
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(body_lock_key());
    INSERT INTO bodies (commitment, salt, sha256, size, media_type, content)
    SELECT DISTINCT ON (sha256(g.content))
           g.commitment, g.salt, sha256(g.content), octet_length(g.content), g.media_type, g.content
      FROM unnest(contents, media_types, salts, commitments)
           WITH ORDINALITY AS g(content, media_type, salt, commitment, n)
     WHERE g.content IS NOT NULL
     ORDER BY sha256(g.content), g.n
    ON CONFLICT ON CONSTRAINT bodies_sha256 DO NOTHING;
    INSERT INTO bodies (commitment, salt, size, media_type)
    SELECT g.commitment, g.salt, g.size, g.media_type
      FROM unnest(contents, media_types, salts, commitments, sizes) AS g(content, media_type, salt, commitment, size)
     WHERE g.content IS NULL
     ORDER BY g.commitment
    ON CONFLICT ON CONSTRAINT bodies_pkey DO NOTHING;
    RETURN (SELECT array_agg(coalesce(b.commitment, g.commitment) ORDER BY g.n)
              FROM unnest(contents, commitments) WITH ORDINALITY AS g(content, commitment, n)
              LEFT JOIN bodies b ON b.sha256 = sha256(g.content));
END
$$;
COMMENT ON FUNCTION put_bodies(bytea[], text[], bytea[], text[], bigint[]) IS
    'Store bodies once each; returns their commitments in order.';

-- name: forget_body
-- What makes the bytes unknowable. erase_body() alone calls it, once everything else is as it must be.
CREATE FUNCTION forget_body(erased_commitment text) RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    UPDATE bodies SET salt = NULL, sha256 = NULL, content = NULL WHERE commitment = erased_commitment;
$$;
COMMENT ON FUNCTION forget_body(text) IS 'Delete bytes, salt and SHA-256 of a body.';

-- name: grants
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT ON bodies TO %I, %I', ledger || '_reader', ledger || '_projector');
    EXECUTE format('GRANT EXECUTE ON FUNCTION put_bodies(bytea[], text[], bytea[], text[], bigint[]), body_lock_key() TO %I',
                   ledger || '_writer');
    EXECUTE format('GRANT EXECUTE ON FUNCTION append_lock_key(), body_lock_key(), forget_body(text) TO %I',
                   ledger || '_projector');
END
$$;

-- name: body_as_json
-- A body for people and for SQL: JSON where it is JSON, else a JSON string, else base64 in an object. Of an HTTP
-- message (RFC 9112) its body, or where it has none, as a GET, its request line without the version.
-- Bytes that claim to be JSON and are not, or that jsonb cannot hold, fall through to the next form.
CREATE FUNCTION body_as_json(content bytea, media_type text) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    cut integer := CASE WHEN media_type LIKE 'message/http%' THEN position('\x0d0a0d0a'::bytea IN content) ELSE 0 END;
    head text;
BEGIN
    IF cut > 0 THEN
        BEGIN
            head := convert_from(substr(content, 1, cut - 1), 'UTF8');
            IF octet_length(content) = cut + 3 THEN
                RETURN to_jsonb(regexp_replace(split_part(head, E'\r\n', 1), ' HTTP/[0-9.]+$', ''));
            END IF;
            RETURN body_as_json(substr(content, cut + 4),
                                coalesce(substring(head FROM '(?i)\r\ncontent-type:[ \t]*([^\r\n]*)'), ''));
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            NULL; -- no text after all
        END;
    END IF;
    IF media_type ~* '^[^;]*[/+]json\s*(;|$)' THEN
        BEGIN
            RETURN convert_from(content, 'UTF8')::jsonb;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            NULL; -- not JSON after all: shown as text
        END;
    END IF;
    BEGIN
        RETURN to_jsonb(convert_from(content, 'UTF8'));
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN jsonb_build_object('base64', encode(content, 'base64'));
    END;
END
$$;
COMMENT ON FUNCTION body_as_json(bytea, text) IS
    'A body as jsonb: JSON as it is, other text as a string, binary as {"base64": …}; NULL stays NULL.';
DO $$
DECLARE
    ledger text := current_schema();
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION body_as_json(bytea, text) TO %I, %I',
                   ledger || '_reader', ledger || '_projector');
END
$$;
