-- Agents as the pool's fold knows them: their inventory, and which attempt holds each GPU.
CREATE TABLE agents (
    topic text NOT NULL,
    id text NOT NULL,
    pool text NOT NULL,
    incarnation text NOT NULL,
    state text NOT NULL,
    reason text,
    joined_at timestamptz NOT NULL,
    joined_offset bigint NOT NULL,
    body json NOT NULL
);
