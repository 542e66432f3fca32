-- Read models: data_ingestion_run_records, which run touched which record, and how: the provenance; and
-- record_versions, each record's contents one after the other, each valid from the position that brought it
-- to the position that replaced it; the open one is what `ingest` compares with.
-- of: RecordIngested, RecordWithdrawn
-- after: data_ingestion_run_ends, officer_decisions
--
-- Both in one fold, since an event's operation, where the script did not declare it, is what the event made
-- of the record: a first version (created), another one (updated), or none (skipped). An event makes a
-- version when it is the first to name the record, when its content differs from what was known, or when
-- it declares a change without giving content (then the content is unknown). A withdrawal makes one as well,
-- without content: from there on the record is no more; what brings it back creates it.
--
-- The first touch of a record in a run makes the run's row; a later touch can only raise the operation (created
-- outranks withdrawn, which outranks updated, which outranks skipped), and only until the run's end. What the
-- row said before it was raised is kept in data_ingestion_run_record_changes.

-- name: ddl
CREATE TABLE data_ingestion_run_records (
    id                    bigint           NOT NULL,
    data_ingestion_run_id bigint           NOT NULL,
    record_type           text COLLATE "C" NOT NULL,
    record_id             text COLLATE "C" NOT NULL,
    operation             text             NOT NULL,
    created_at            timestamptz      NOT NULL,
    updated_at            timestamptz      NOT NULL,
    CONSTRAINT data_ingestion_run_records_pkey PRIMARY KEY (id),
    CONSTRAINT data_ingestion_run_records_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT data_ingestion_run_records_operation
        CHECK (operation IN ('created', 'updated', 'skipped', 'withdrawn'))
);
CREATE INDEX idx_dir_records_on_run_and_time ON data_ingestion_run_records (data_ingestion_run_id, created_at);
CREATE UNIQUE INDEX idx_dir_records_on_record_and_run
    ON data_ingestion_run_records (record_type, record_id, data_ingestion_run_id);
COMMENT ON TABLE  data_ingestion_run_records                       IS 'Which run touched which record, and how.';
COMMENT ON COLUMN data_ingestion_run_records.id                    IS 'Position of the run''s first event about the record.';
COMMENT ON COLUMN data_ingestion_run_records.data_ingestion_run_id IS 'The run.';
COMMENT ON COLUMN data_ingestion_run_records.record_type           IS 'Kind of record, e.g. QuiverTrade.';
COMMENT ON COLUMN data_ingestion_run_records.record_id             IS 'The record''s id at its source, as text.';
COMMENT ON COLUMN data_ingestion_run_records.operation             IS 'created, updated, skipped or withdrawn.';
COMMENT ON COLUMN data_ingestion_run_records.created_at            IS 'recorded_at of the run''s first event about the record.';
COMMENT ON COLUMN data_ingestion_run_records.updated_at            IS 'recorded_at of the event that raised the operation last.';
CREATE TABLE data_ingestion_run_record_changes (
    id                           bigint      NOT NULL,
    data_ingestion_run_record_id bigint      NOT NULL,
    operation                    text        NOT NULL,
    operation_at                 timestamptz NOT NULL,
    created_at                   timestamptz NOT NULL,
    updated_at                   timestamptz NOT NULL,
    CONSTRAINT data_ingestion_run_record_changes_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_dir_record_changes_on_record
    ON data_ingestion_run_record_changes (data_ingestion_run_record_id, id);
COMMENT ON TABLE  data_ingestion_run_record_changes                              IS 'What rows of data_ingestion_run_records said before a later event of the same run raised their operation; few ever do.';
COMMENT ON COLUMN data_ingestion_run_record_changes.id                           IS 'Position of the event that raised it.';
COMMENT ON COLUMN data_ingestion_run_record_changes.data_ingestion_run_record_id IS 'The row (data_ingestion_run_records).';
COMMENT ON COLUMN data_ingestion_run_record_changes.operation                    IS 'Its operation until then.';
COMMENT ON COLUMN data_ingestion_run_record_changes.operation_at                 IS 'Its updated_at until then.';
COMMENT ON COLUMN data_ingestion_run_record_changes.created_at                   IS 'recorded_at of the event that raised it.';
COMMENT ON COLUMN data_ingestion_run_record_changes.updated_at                   IS 'recorded_at of the event that raised it.';
CREATE TABLE record_versions (
    id                    bigint           NOT NULL,
    record_type           text COLLATE "C" NOT NULL,
    record_id             text COLLATE "C" NOT NULL,
    operation             text             NOT NULL,
    content               text COLLATE "C",
    data_ingestion_run_id bigint           NOT NULL,
    to_position           bigint,
    created_at            timestamptz      NOT NULL,
    updated_at            timestamptz      NOT NULL,
    CONSTRAINT record_versions_pkey PRIMARY KEY (id),
    CONSTRAINT record_versions_run FOREIGN KEY (data_ingestion_run_id) REFERENCES data_ingestion_runs (id),
    CONSTRAINT record_versions_operation CHECK (operation IN ('created', 'updated', 'withdrawn')),
    CONSTRAINT record_versions_interval CHECK (to_position > id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX idx_record_versions_on_record ON record_versions (record_type, record_id, id);
CREATE INDEX idx_record_versions_on_run ON record_versions (data_ingestion_run_id);
COMMENT ON TABLE  record_versions                       IS 'The versions of each record''s content.';
COMMENT ON COLUMN record_versions.id                    IS 'Position of the event that brought this version: valid from here.';
COMMENT ON COLUMN record_versions.record_type           IS 'Kind of record, e.g. QuiverTrade.';
COMMENT ON COLUMN record_versions.record_id             IS 'The record''s id at its source, as text.';
COMMENT ON COLUMN record_versions.operation             IS 'created for the first version of a record and the first after a withdrawal, withdrawn where the record ended, updated for all others.';
COMMENT ON COLUMN record_versions.content               IS 'Commitment of the content (bodies); NULL where it was not given, or the record was withdrawn.';
COMMENT ON COLUMN record_versions.data_ingestion_run_id IS 'The run that brought it.';
COMMENT ON COLUMN record_versions.to_position           IS 'Position of the version that replaced it; NULL for the latest.';
COMMENT ON COLUMN record_versions.created_at            IS 'recorded_at of the event that brought it.';
COMMENT ON COLUMN record_versions.updated_at            IS 'recorded_at of the event that changed the row last.';

-- name: views
-- The records as they are, each with its content: what a question about data is about.
CREATE VIEW records AS
SELECT v.record_type, v.record_id,
       coalesce(body_as_json(b.content, b.media_type),
                (SELECT x.payload FROM erased_bodies x WHERE x.commitment = v.content)) AS content,
       r.run_id, v.created_at AS recorded_at, v.id AS "position", v.content AS commitment
  FROM record_versions v
  JOIN data_ingestion_runs r ON r.id = v.data_ingestion_run_id
  LEFT JOIN bodies b ON b.commitment = v.content
 WHERE v.to_position IS NULL AND v.operation <> 'withdrawn';
COMMENT ON VIEW   records             IS 'Each record with its content: JSON as JSON, other text as a string, binary as base64, an erased one as {"erased": …}. Withdrawn records are not here.';
COMMENT ON COLUMN records.record_type IS 'Kind of record, e.g. QuiverTrade.';
COMMENT ON COLUMN records.record_id   IS 'The record''s id at its source, as text.';
COMMENT ON COLUMN records.content     IS 'Its content; NULL where it was never given.';
COMMENT ON COLUMN records.run_id      IS 'The run that brought this content.';
COMMENT ON COLUMN records.recorded_at IS 'recorded_at of the event that brought it.';
COMMENT ON COLUMN records."position"  IS 'Position of that event.';
COMMENT ON COLUMN records.commitment  IS 'Commitment of the content (bodies).';

-- name: as_of
-- The first change after the position says what the row was. (The view of the changes shows none of those: it is
-- made last, since from then on the name is its own.)
CREATE VIEW data_ingestion_run_records AS
SELECT r.id, r.data_ingestion_run_id, r.record_type, r.record_id,
       coalesce(c.operation, r.operation) AS operation, r.created_at,
       coalesce(c.operation_at, r.updated_at) AS updated_at
  FROM data_ingestion_run_records r
  LEFT JOIN LATERAL (
       SELECT c.operation, c.operation_at
         FROM data_ingestion_run_record_changes c
        WHERE c.data_ingestion_run_record_id = r.id AND c.id > (SELECT "position"())
        ORDER BY c.id LIMIT 1) c ON true
 WHERE r.id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW data_ingestion_run_record_changes AS
SELECT * FROM data_ingestion_run_record_changes WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
-- A version changes once, when another replaces it.
CREATE VIEW record_versions AS
SELECT v.id, v.record_type, v.record_id, v.operation, v.content, v.data_ingestion_run_id,
       CASE WHEN v.to_position <= (SELECT "position"()) THEN v.to_position END AS to_position, v.created_at,
       CASE WHEN v.to_position <= (SELECT "position"()) THEN v.updated_at ELSE v.created_at END AS updated_at
  FROM record_versions v
 WHERE v.id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
-- touches: the range's events. late: after the end of their run. fresh: there can be no row of that run and
-- record yet, as the run began in this range or, below, the record was never heard of before; those need no
-- look for a conflict, which costs as much as half the row. content is '' where the record is withdrawn.
-- known: with the version that is open before the range, and whether the event says what the content is.
-- changes: of those that do (`sets`), what was before, and whether that is new. news: when the next new content
-- replaces it.
-- closed: always conflicts, and so is a look-up of the open version whatever the planner believes; a join
-- may turn into a scan. Of the row offered, only the two columns that are set count.
-- decided, firsts: the touches as rows, and those of one run and record made one; `since` is where it reached
-- its operation.
-- raised: those rows that a later touch than their first changed; steps: their operations one after the other.
WITH touches AS (
    SELECT e.position, e.recorded_at, CASE WHEN r.id < e.position THEN r.id END AS data_ingestion_run_id,
           e.record_type, e.record_id, e.operation,
           CASE WHEN e.operation = 'withdrawn' THEN '' ELSE e.content END AS content,
           e.position > f.id IS TRUE AS late,
           r.id > :after             AS fresh,
           row_number() OVER (PARTITION BY e.record_id, e.record_type ORDER BY e.position) = 1 AS first_here
      FROM record_touched e
      LEFT JOIN data_ingestion_runs r ON r.run_id = e.run_id
      LEFT JOIN data_ingestion_run_ends f ON f.data_ingestion_run_id = r.id AND f.first
     WHERE e.position > :after AND e.position <= :upto
), known AS (
    SELECT t.*, v.id AS open_id, v.content AS open_content, t.first_here AND v.id IS NULL AS first_ever,
           (t.content IS NOT NULL OR t.operation <> 'skipped' OR t.first_here AND v.id IS NULL) IS TRUE AS sets
      FROM touches t
      LEFT JOIN LATERAL (
           SELECT v.id, CASE WHEN v.operation = 'withdrawn' THEN '' ELSE v.content END AS content
             FROM record_versions v
            WHERE v.record_type = t.record_type AND v.record_id = t.record_id
            ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) v ON true
), changes AS (
    SELECT c.*, c.sets AND (c.first_ever OR c.content IS NULL OR c.content IS DISTINCT FROM c.before) AS is_new
      FROM (SELECT k.*, lag(k.content, 1, k.open_content) OVER w AS before
              FROM known k
            WINDOW w AS (PARTITION BY k.record_id, k.record_type, k.sets ORDER BY k.position
                         ROWS UNBOUNDED PRECEDING)) c
), news AS (
    SELECT c.*, lead(c.position)    OVER w AS to_position,
                lead(c.recorded_at) OVER w AS replaced_at,
                row_number()        OVER w = 1 AS closes_open
      FROM changes c
     WHERE c.is_new
    WINDOW w AS (PARTITION BY c.record_id, c.record_type, c.sets ORDER BY c.position ROWS UNBOUNDED PRECEDING)
), closed AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, data_ingestion_run_id, to_position, created_at, updated_at)
    SELECT n.open_id, n.record_type, n.record_id, 'updated', 0, n.position, n.recorded_at, n.recorded_at
      FROM news n
     WHERE n.closes_open AND n.open_id IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET to_position = excluded.to_position, updated_at = excluded.updated_at
), versions AS (
    INSERT INTO record_versions
           (id, record_type, record_id, operation, content, data_ingestion_run_id, to_position, created_at, updated_at)
    SELECT n.position, n.record_type, n.record_id,
           CASE WHEN n.content = '' THEN 'withdrawn'
                WHEN n.first_ever OR n.before = '' THEN 'created' ELSE 'updated' END,
           nullif(n.content, ''), n.data_ingestion_run_id, n.to_position, n.recorded_at,
           coalesce(n.replaced_at, n.recorded_at)
      FROM news n
     ORDER BY n.position
), decided AS (
    SELECT c.position, c.recorded_at, c.data_ingestion_run_id, c.record_type, c.record_id,
           coalesce(c.operation, CASE WHEN c.first_ever OR c.is_new AND c.before = '' THEN 'created'
                                      WHEN c.is_new THEN 'updated' ELSE 'skipped' END) AS operation,
           c.late, c.fresh OR c.first_ever AS fresh
      FROM changes c
), late AS (
    INSERT INTO data_ingestion_run_records
           (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
    SELECT DISTINCT ON (d.data_ingestion_run_id, d.record_type, d.record_id)
           d.position, d.data_ingestion_run_id, d.record_type, d.record_id, d.operation, d.recorded_at, d.recorded_at
      FROM decided d
     WHERE d.late
     ORDER BY d.data_ingestion_run_id, d.record_type, d.record_id, d.position
    ON CONFLICT (record_type, record_id, data_ingestion_run_id) DO NOTHING
), firsts AS (
    SELECT t.id, t.data_ingestion_run_id, t.record_type, t.record_id,
           CASE WHEN t.wrong     IS NOT NULL THEN t.wrong
                WHEN t.created   IS NOT NULL THEN 'created'
                WHEN t.withdrawn IS NOT NULL THEN 'withdrawn'
                WHEN t.updated   IS NOT NULL THEN 'updated'
                ELSE 'skipped' END AS operation,
           t.created_at, t.fresh, t.created, t.withdrawn, t.updated,
           coalesce(t.created, t.withdrawn, t.updated, t.id) AS since
      FROM (SELECT min(position) AS id, data_ingestion_run_id, record_type, record_id,
                   min(recorded_at) AS created_at,
                   min(position)  FILTER (WHERE operation = 'created')   AS created,
                   min(position)  FILTER (WHERE operation = 'withdrawn') AS withdrawn,
                   min(position)  FILTER (WHERE operation = 'updated')   AS updated,
                   min(operation) FILTER (WHERE operation NOT IN ('created', 'withdrawn', 'updated', 'skipped')) AS wrong,
                   bool_or(fresh) AS fresh
              FROM decided
             WHERE NOT late
             GROUP BY data_ingestion_run_id, record_id, record_type) t
), rows AS (
    SELECT f.*, CASE WHEN f.since = f.id THEN f.created_at
                     ELSE (SELECT e.recorded_at FROM events e WHERE e.position = f.since) END AS updated_at
      FROM firsts f
), fresh AS (
    INSERT INTO data_ingestion_run_records
           (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
    SELECT f.id, f.data_ingestion_run_id, f.record_type, f.record_id, f.operation, f.created_at, f.updated_at
      FROM rows f
     WHERE f.fresh
     ORDER BY f.id
), raised AS (
    SELECT f.*, o.id AS old_id, o.operation AS old_operation, o.updated_at AS old_updated_at
      FROM firsts f
      LEFT JOIN LATERAL (
           SELECT o.id, o.operation, o.updated_at
             FROM data_ingestion_run_records o
            WHERE f.fresh IS NOT TRUE AND o.record_type = f.record_type AND o.record_id = f.record_id
              AND o.data_ingestion_run_id = f.data_ingestion_run_id) o ON true
     WHERE f.operation <> 'skipped' AND (f.fresh IS NOT TRUE OR f.since <> f.id)
), steps AS (
    SELECT coalesce(r.old_id, r.id) AS row_id, s.position, s.operation, s.rank, r.old_updated_at,
           max(s.rank) OVER (PARTITION BY coalesce(r.old_id, r.id) ORDER BY s.position
                             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
      FROM raised r
     CROSS JOIN LATERAL (VALUES
           (CASE WHEN r.old_id IS NOT NULL THEN 0 END, r.old_operation,
            CASE r.old_operation WHEN 'created' THEN 4 WHEN 'withdrawn' THEN 3 WHEN 'updated' THEN 2 ELSE 1 END),
           (CASE WHEN r.old_id IS NULL AND least(r.created, r.withdrawn, r.updated) > r.id THEN r.id END, 'skipped', 1),
           (r.updated, 'updated', 2), (r.withdrawn, 'withdrawn', 3), (r.created, 'created', 4))
           AS s(position, operation, rank)
     WHERE s.position IS NOT NULL
), raises AS (
    INSERT INTO data_ingestion_run_record_changes
           (id, data_ingestion_run_record_id, operation, operation_at, created_at, updated_at)
    SELECT s.position, s.row_id, s.operation_before,
           CASE WHEN s.position_before = 0 THEN s.old_updated_at
                ELSE (SELECT e.recorded_at FROM events e WHERE e.position = s.position_before) END,
           (SELECT e.recorded_at FROM events e WHERE e.position = s.position),
           (SELECT e.recorded_at FROM events e WHERE e.position = s.position)
      FROM (SELECT t.*, lag(t.operation) OVER w AS operation_before, lag(t.position) OVER w AS position_before
              FROM steps t
             WHERE t.rank > coalesce(t.reached, 0)
            WINDOW w AS (PARTITION BY t.row_id ORDER BY t.position)) s
     WHERE s.operation_before IS NOT NULL
)
INSERT INTO data_ingestion_run_records AS old
       (id, data_ingestion_run_id, record_type, record_id, operation, created_at, updated_at)
SELECT f.id, f.data_ingestion_run_id, f.record_type, f.record_id, f.operation, f.created_at, f.updated_at
  FROM rows f
 WHERE f.fresh IS NOT TRUE
ON CONFLICT (record_type, record_id, data_ingestion_run_id) DO UPDATE
   SET operation = excluded.operation, updated_at = excluded.updated_at
 WHERE old.operation = 'skipped' AND excluded.operation <> 'skipped'
    OR old.operation = 'updated' AND excluded.operation IN ('created', 'withdrawn')
    OR old.operation = 'withdrawn' AND excluded.operation = 'created';
