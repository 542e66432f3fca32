-- Read models: data_ingestion_run_skips and task_definitions. What is said of tasks outside of their runs: those
-- that did not begin since another one went on, and how a task is watched. A row an event; none ever changes.
-- of: RunSkipped, TaskDefined, TaskRemoved
-- after:

-- name: ddl
CREATE TABLE data_ingestion_run_skips (
    id             bigint      NOT NULL,
    task_name      text        NOT NULL,
    data_source    text        NOT NULL,
    scheduled_for  timestamptz,
    running_run_id uuid,
    host           text,
    reason         text        NOT NULL,
    skipped_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT data_ingestion_run_skips_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_dir_skips_on_task_and_skipped ON data_ingestion_run_skips (task_name, skipped_at);
COMMENT ON TABLE  data_ingestion_run_skips                IS 'Runs that did not begin, since another one of their task went on.';
COMMENT ON COLUMN data_ingestion_run_skips.id             IS 'Position of the RunSkipped event.';
COMMENT ON COLUMN data_ingestion_run_skips.task_name      IS 'What would have run.';
COMMENT ON COLUMN data_ingestion_run_skips.data_source    IS 'Where the data would have come from.';
COMMENT ON COLUMN data_ingestion_run_skips.scheduled_for  IS 'When it was due, where that was said.';
COMMENT ON COLUMN data_ingestion_run_skips.running_run_id IS 'The run that went on.';
COMMENT ON COLUMN data_ingestion_run_skips.host           IS 'Where.';
COMMENT ON COLUMN data_ingestion_run_skips.reason         IS 'Why it did not begin.';
COMMENT ON COLUMN data_ingestion_run_skips.skipped_at     IS 'When, by the clock of that host.';
COMMENT ON COLUMN data_ingestion_run_skips.created_at     IS 'recorded_at of the event.';
COMMENT ON COLUMN data_ingestion_run_skips.updated_at     IS 'recorded_at of the event.';
CREATE TABLE task_definitions (
    id         bigint      NOT NULL,
    task_name  text        NOT NULL,
    definition jsonb,
    defined_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT task_definitions_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_task_definitions_on_task ON task_definitions (task_name, id);
COMMENT ON TABLE  task_definitions            IS 'How tasks are watched: the last row of a task says how now.';
COMMENT ON COLUMN task_definitions.id         IS 'Position of the TaskDefined or TaskRemoved event.';
COMMENT ON COLUMN task_definitions.task_name  IS 'The task.';
COMMENT ON COLUMN task_definitions.definition IS 'What ledger.toml says of it, JSON; NULL where it no longer names it.';
COMMENT ON COLUMN task_definitions.defined_at IS 'When a watcher read that, by its clock.';
COMMENT ON COLUMN task_definitions.created_at IS 'recorded_at of the event.';
COMMENT ON COLUMN task_definitions.updated_at IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW data_ingestion_run_skips AS
SELECT * FROM data_ingestion_run_skips WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW task_definitions AS
SELECT * FROM task_definitions WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
WITH said AS MATERIALIZED (
    SELECT t.* FROM task_event t WHERE t.position > :after AND t.position <= :upto
), skips AS (
    INSERT INTO data_ingestion_run_skips
           (id, task_name, data_source, scheduled_for, running_run_id, host, reason, skipped_at, created_at, updated_at)
    SELECT s.position, s.task, s.source, s.scheduled_for, s.running, s.host, s.reason, s.occurred_at, s.recorded_at, s.recorded_at
      FROM said s
     WHERE s.type = 'RunSkipped'
)
INSERT INTO task_definitions (id, task_name, definition, defined_at, created_at, updated_at)
SELECT s.position, s.task, s.definition, s.occurred_at, s.recorded_at, s.recorded_at
  FROM said s
 WHERE s.type <> 'RunSkipped';
