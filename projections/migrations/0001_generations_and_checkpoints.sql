-- Which generation of each projection serves, and how far it has read the log.

CREATE TABLE hermes.projections (
    name text PRIMARY KEY,
    generation integer NOT NULL,
    -- A number is never used twice, so a left-over schema can never be taken for a new one.
    last_generation integer NOT NULL
);

CREATE TABLE hermes.checkpoints (
    projection text NOT NULL,
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    -- SHA-256 of the partition's first record: another log under the same name is noticed.
    first_record text,
    -- Why this projection stands still here; null while it runs.
    error text,
    PRIMARY KEY (projection, generation, topic, partition)
);

-- Folded state, so that a projector need not read a topic from its start.
CREATE TABLE hermes.snapshots (
    topic text NOT NULL,
    next_offset bigint NOT NULL,
    rules integer NOT NULL,
    first_record text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (topic, next_offset)
);

-- The newest rebuild of each projection: asked for here, its progress reported here.
CREATE TABLE hermes.rebuilds (
    projection text PRIMARY KEY,
    status text NOT NULL,
    events_done bigint NOT NULL DEFAULT 0,
    events_total bigint NOT NULL DEFAULT 0,
    rows_compared bigint NOT NULL DEFAULT 0,
    differences bigint NOT NULL DEFAULT 0,
    examples json,
    verified boolean NOT NULL DEFAULT false,
    error text
);
