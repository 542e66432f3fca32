-- Read model: api_payloads. What was sent to an API and what came back: the rows say which body, when
-- and from which source; the view adds the body itself.
-- of: ApiCallMade
-- after: data_ingestion_runs, officer_decisions

-- name: ddl
CREATE TABLE api_payload_rows (
    id          bigint           NOT NULL,
    type        text             NOT NULL,
    commitment  text COLLATE "C" NOT NULL,
    media_type  text,
    source      text             NOT NULL,
    captured_at timestamptz      NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    CONSTRAINT api_payload_rows_pkey PRIMARY KEY (id),
    CONSTRAINT api_payload_rows_type CHECK (type IN ('ApiRequest', 'ApiResponse'))
);
CREATE INDEX idx_api_payload_rows_on_commitment ON api_payload_rows (commitment);
COMMENT ON TABLE  api_payload_rows             IS 'One row a request or response body of an API call.';
COMMENT ON COLUMN api_payload_rows.id          IS 'Twice the position of the ApiCallMade event, less one for the request.';
COMMENT ON COLUMN api_payload_rows.type        IS 'ApiRequest or ApiResponse.';
COMMENT ON COLUMN api_payload_rows.commitment  IS 'Commitment of the body (bodies).';
COMMENT ON COLUMN api_payload_rows.media_type  IS 'Media type (RFC 6838) that this message gave it, where it is known.';
COMMENT ON COLUMN api_payload_rows.source      IS 'The data source of the run.';
COMMENT ON COLUMN api_payload_rows.captured_at IS 'When the body was captured, by the script''s clock.';
COMMENT ON COLUMN api_payload_rows.created_at  IS 'recorded_at of the event.';
COMMENT ON COLUMN api_payload_rows.updated_at  IS 'recorded_at of the event.';

-- name: views
CREATE VIEW api_payloads AS
SELECT p.id, p.type,
       coalesce(CASE WHEN b.content IS NULL AND b.salt IS NOT NULL
                     THEN jsonb_build_object('truncated', jsonb_build_object('size', b.size, 'commitment', b.commitment))
                     ELSE body_as_json(b.content, coalesce(p.media_type, b.media_type)) END,
                (SELECT x.payload FROM erased_bodies x WHERE x.commitment = p.commitment)) AS payload,
       p.source, p.captured_at, p.created_at, p.updated_at
  FROM api_payload_rows p
  LEFT JOIN bodies b ON b.commitment = p.commitment;
COMMENT ON VIEW api_payloads IS 'Requests and responses with their bodies: JSON as JSON, other text as a string, binary as base64, an erased one as {"erased": …}.';

-- name: as_of
CREATE VIEW api_payload_rows AS
SELECT * FROM api_payload_rows WHERE id <= 2 * (SELECT "position"()) AND (SELECT "position"()) > 0;

-- name: fold
INSERT INTO api_payload_rows (id, type, commitment, media_type, source, captured_at, created_at, updated_at)
SELECT b.id, b.type, b.commitment, b.media_type, CASE WHEN r.id < c.position THEN r.data_source END,
       coalesce(c.captured_at, c.occurred_at), c.recorded_at, c.recorded_at
  FROM api_call_made c
  LEFT JOIN data_ingestion_runs r ON r.run_id = c.run_id
 CROSS JOIN LATERAL (VALUES (2 * c.position - 1, 'ApiRequest', c.request, c.request_media_type),
                            (2 * c.position, 'ApiResponse', c.response, c.response_media_type))
                    AS b(id, type, commitment, media_type)
 WHERE c.position > :after AND c.position <= :upto
   AND b.commitment IS NOT NULL;
