-- Read models: decisions, decision_inputs and executions. What was decided by the ledger's data, by which
-- records of it, and what was carried out: the way from ingestion to execution.
-- of: DecisionMade, DecisionExecuted
-- after:
--
-- All in one fold, since these events are rare. A decision with many inputs has several events, in one stream and
-- one transaction; the first is the decision.

-- name: ddl
CREATE TABLE decisions (
    id          bigint           NOT NULL,
    decision_id text COLLATE "C" NOT NULL,
    reference   bigint           NOT NULL,
    by          text,
    details     jsonb,
    decided_at  timestamptz      NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    CONSTRAINT decisions_pkey PRIMARY KEY (id),
    CONSTRAINT decisions_of_the_past CHECK (reference < id)
);
CREATE INDEX idx_decisions_on_decision_id ON decisions (decision_id, id);
COMMENT ON TABLE  decisions             IS 'Decisions that were made by the ledger''s data.';
COMMENT ON COLUMN decisions.id          IS 'Position of the (first) DecisionMade event.';
COMMENT ON COLUMN decisions.decision_id IS 'The decision''s id, as its maker calls it.';
COMMENT ON COLUMN decisions.reference   IS 'Position up to which the ledger was known to whoever decided.';
COMMENT ON COLUMN decisions.by          IS 'Who decided, by their own word.';
COMMENT ON COLUMN decisions.details     IS 'What else was said of it, JSON.';
COMMENT ON COLUMN decisions.decided_at  IS 'When it was decided, by the script''s clock.';
COMMENT ON COLUMN decisions.created_at  IS 'recorded_at of the event.';
COMMENT ON COLUMN decisions.updated_at  IS 'recorded_at of the event.';
CREATE TABLE decision_inputs (
    decision_id text COLLATE "C" NOT NULL,
    id          bigint           NOT NULL,
    ordinal     integer          NOT NULL,
    record_type text COLLATE "C" NOT NULL,
    record_id   text COLLATE "C" NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    CONSTRAINT decision_inputs_pkey PRIMARY KEY (id, ordinal)
);
CREATE INDEX idx_decision_inputs_on_decision ON decision_inputs (decision_id, id, ordinal);
CREATE INDEX idx_decision_inputs_on_record ON decision_inputs (record_type, record_id, id);
COMMENT ON TABLE  decision_inputs             IS 'The records that decisions used.';
COMMENT ON COLUMN decision_inputs.decision_id IS 'The decision''s id.';
COMMENT ON COLUMN decision_inputs.id          IS 'Position of the DecisionMade event that names the record.';
COMMENT ON COLUMN decision_inputs.ordinal     IS 'Its place among the inputs of that event, from 1.';
COMMENT ON COLUMN decision_inputs.record_type IS 'Kind of record.';
COMMENT ON COLUMN decision_inputs.record_id   IS 'The record''s id at its source; its version is the one that was valid at the decision''s reference.';
COMMENT ON COLUMN decision_inputs.created_at  IS 'recorded_at of the event.';
COMMENT ON COLUMN decision_inputs.updated_at  IS 'recorded_at of the event.';
CREATE TABLE executions (
    id           bigint           NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    decision_id  text COLLATE "C" NOT NULL,
    by           text,
    details      jsonb,
    executed_at  timestamptz      NOT NULL,
    created_at   timestamptz      NOT NULL,
    updated_at   timestamptz      NOT NULL,
    CONSTRAINT executions_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_executions_on_decision ON executions (decision_id, id);
COMMENT ON TABLE  executions              IS 'What was carried out of decisions.';
COMMENT ON COLUMN executions.id           IS 'Position of the DecisionExecuted event.';
COMMENT ON COLUMN executions.execution_id IS 'The execution''s id, e.g. that of an order.';
COMMENT ON COLUMN executions.decision_id  IS 'The decision that it carries out.';
COMMENT ON COLUMN executions.by           IS 'Who did it, by their own word.';
COMMENT ON COLUMN executions.details      IS 'What else was said of it, JSON.';
COMMENT ON COLUMN executions.executed_at  IS 'When, by the script''s clock.';
COMMENT ON COLUMN executions.created_at   IS 'recorded_at of the event.';
COMMENT ON COLUMN executions.updated_at   IS 'recorded_at of the event.';

-- name: as_of
CREATE VIEW decisions AS
SELECT * FROM decisions WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW decision_inputs AS
SELECT * FROM decision_inputs WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;
CREATE VIEW executions AS
SELECT * FROM executions WHERE id <= (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
WITH made AS MATERIALIZED (
    SELECT d.* FROM decision_made d WHERE d.position > :after AND d.position <= :upto
), decided AS (
    INSERT INTO decisions (id, decision_id, reference, by, details, decided_at, created_at, updated_at)
    SELECT m.position, m.decision_id, m.reference, m.by, m.details, m.occurred_at, m.recorded_at, m.recorded_at
      FROM made m
     WHERE m.type = 'DecisionMade' AND m.version = 1
), used AS (
    INSERT INTO decision_inputs (decision_id, id, ordinal, record_type, record_id, created_at, updated_at)
    SELECT m.decision_id, m.position, i.ordinal, i.input ->> 0, i.input ->> 1, m.recorded_at, m.recorded_at
      FROM made m
     CROSS JOIN LATERAL jsonb_array_elements(m.inputs) WITH ORDINALITY AS i(input, ordinal)
     WHERE m.type = 'DecisionMade'
)
INSERT INTO executions (id, execution_id, decision_id, by, details, executed_at, created_at, updated_at)
SELECT m.position, m.execution_id, m.decision_id, m.by, m.details, m.occurred_at, m.recorded_at, m.recorded_at
  FROM made m
 WHERE m.type = 'DecisionExecuted';
