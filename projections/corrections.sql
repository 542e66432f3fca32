-- Read model: corrections. What somebody said later of an event that was wrong; the event itself stays as it is.
-- of: EventCorrected
-- after:

-- name: ddl
CREATE TABLE corrections (
    id          bigint      NOT NULL,
    "position"  bigint      NOT NULL,
    by          text        NOT NULL,
    reason      text        NOT NULL,
    "values"    jsonb,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT corrections_pkey PRIMARY KEY (id),
    CONSTRAINT corrections_of_the_past CHECK ("position" < id)
);
CREATE INDEX idx_corrections_on_position ON corrections ("position", id);
COMMENT ON TABLE  corrections            IS 'Corrections of events; both are shown.';
COMMENT ON COLUMN corrections.id         IS 'Position of the EventCorrected event.';
COMMENT ON COLUMN corrections."position" IS 'Position of the event that it corrects.';
COMMENT ON COLUMN corrections.by         IS 'Who says so, by their own word; recorded_by of the event is the role.';
COMMENT ON COLUMN corrections.reason     IS 'Why the event was wrong.';
COMMENT ON COLUMN corrections."values"   IS 'What is right, by the names of what it replaces; NULL where only the reason is given.';
COMMENT ON COLUMN corrections.created_at IS 'recorded_at of the event.';
COMMENT ON COLUMN corrections.updated_at IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW corrections AS
SELECT * FROM corrections WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO corrections (id, "position", by, reason, "values", created_at, updated_at)
SELECT c.position, c.corrects, c.by, c.reason, c."values", c.recorded_at, c.recorded_at
  FROM event_corrected c
 WHERE c.position > :after AND c.position <= :upto;
