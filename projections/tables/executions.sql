-- Executions as the pool's fold returned them: columns to filter and add up, `body` as REST shows
-- it. An id is the pool's own affair, so the topic is part of the key.
CREATE TABLE executions (
    topic text NOT NULL,
    id text COLLATE "C" NOT NULL,
    pool text NOT NULL,
    kind text NOT NULL,
    owner text NOT NULL,
    owner_id text NOT NULL,
    function text NOT NULL,
    version text NOT NULL,
    status text NOT NULL,
    outcome text,
    reason text,
    agent text,
    attempts integer NOT NULL,
    gpu_count integer NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    wall_time double precision,
    cpu_time double precision,
    peak_memory bigint,
    output_bytes bigint,
    gpu_time double precision,
    gpu_peak_memory bigint,
    gpu_energy double precision,
    requested_offset bigint NOT NULL,
    body json NOT NULL,
    -- At the end, as in generations that were made without it.
    gpu_utilisation double precision
) WITH (fillfactor = 85);

-- Every record of the pools' topics, superseded and malformed ones too. `execution_id` is the
-- record's key where that is an id.
CREATE TABLE events (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    execution_id text COLLATE "C",
    event_id text NOT NULL,
    kind text NOT NULL,
    version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    log_time timestamptz NOT NULL,
    actor text NOT NULL,
    superseded boolean NOT NULL,
    misfit text,
    body json NOT NULL
);
