-- The queries of the API, each named and described. Every one that shows what belongs to somebody
-- takes that somebody's id as $1.

-- name: find_executions
-- The user's executions whose id starts with a prefix, two at most: one more than is unique.
SELECT id, topic, pool, kind, body::text AS body
FROM hermes.executions
WHERE owner_id = $1 AND id >= $2 AND id < $2 || '~'
ORDER BY id
LIMIT 2;

-- name: list_executions
-- The user's executions, newest first, after a cursor ($8, $9).
SELECT id, created_at, body::text AS body
FROM hermes.executions
WHERE owner_id = $1
  AND kind = $2
  AND ($3::text[] IS NULL OR status = ANY ($3) OR outcome = ANY ($3))
  AND ($4::text IS NULL OR function = $4)
  AND ($5::text IS NULL OR version = $5)
  AND ($6::timestamptz IS NULL OR created_at >= $6)
  AND ($7::timestamptz IS NULL OR created_at < $7)
  AND ($8::timestamptz IS NULL OR (created_at, id) < ($8, $9::text))
ORDER BY created_at DESC, id DESC
LIMIT $10;

-- name: list_events
-- The events of one execution in a pool's topic, oldest first, from an offset on.
SELECT "offset", body::text AS body
FROM hermes.events
WHERE topic = $1 AND execution_id = $2 AND "offset" >= $3
ORDER BY "offset"
LIMIT $4;

-- name: list_functions
-- Public versions and the viewer's own ($1), newest first, after a cursor ($5, $6, $7).
SELECT key, version, created_at, body::text AS body
FROM hermes.functions
WHERE (public OR owner_id = $1)
  AND ($2::text IS NULL OR owner = $2)
  AND ($3::text IS NULL OR name = $3)
  AND CASE WHEN $4::text IS NULL THEN status <> 'deleted' ELSE status = $4 END
  AND ($5::timestamptz IS NULL OR (created_at, key, version) < ($5, $6::text, $7::text))
ORDER BY created_at DESC, key DESC, version DESC
LIMIT $8;

-- name: get_function
-- One version that the viewer ($1) may see; without a version ($3) the highest, built ones first.
SELECT body::text AS body
FROM hermes.functions
WHERE (public OR owner_id = $1)
  AND key = $2
  AND ($3::text IS NULL OR version = $3)
  AND status <> 'deleted'
ORDER BY (status = 'built') DESC, version_order DESC
LIMIT 1;

-- name: list_agents
-- Agents of a pool, or of all.
SELECT body::text AS body
FROM hermes.agents
WHERE $1::text IS NULL OR pool = $1
ORDER BY pool, id;

-- name: output_chunks
-- Where an attempt's output stands, each chunk once, by seq.
SELECT DISTINCT ON (seq) seq, stream, stream_offset, length, partition, "offset"
FROM hermes.output_chunks
WHERE execution_id = $1 AND attempt = $2 AND stream <> 'stdin'
ORDER BY seq, "offset";

-- name: checkpoints
-- How far every active projection has read each partition, and why it stands still where it does.
SELECT projection, topic, partition, next_offset, error
FROM hermes.checkpoints JOIN hermes.projections
  ON name = projection AND hermes.projections.generation = hermes.checkpoints.generation;

-- name: projections
-- Every projection with its newest rebuild.
SELECT name, status, events_done, events_total, rows_compared, differences, verified, error
FROM hermes.projections LEFT JOIN hermes.rebuilds ON projection = name
ORDER BY name;
