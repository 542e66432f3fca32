-- Which of the numbered files of schema/ this database has, each run once, in order.

-- name: migrations
CREATE TABLE migrations (
    number           integer     NOT NULL,
    file             text        NOT NULL,
    sha256           text        NOT NULL,
    software_version text        NOT NULL,
    applied_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT migrations_pkey PRIMARY KEY (number)
);
COMMENT ON TABLE  migrations                  IS 'The files of schema/ that were run here.';
COMMENT ON COLUMN migrations.number           IS 'The number that the file''s name begins with.';
COMMENT ON COLUMN migrations.file             IS 'The file''s name.';
COMMENT ON COLUMN migrations.sha256           IS 'SHA-256 of the file as it was run, hexadecimal.';
COMMENT ON COLUMN migrations.software_version IS 'Version of audit-ledger that ran it.';
COMMENT ON COLUMN migrations.applied_at       IS 'When, by the database clock.';

-- name: grants
DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON migrations TO %I, %I',
                   current_schema() || '_reader', current_schema() || '_projector');
END
$$;
