-- Versions of functions as the registry's fold returned them; key is "owner/name".
CREATE TABLE functions (
    key text NOT NULL,
    version text NOT NULL,
    version_order text COLLATE "C" NOT NULL,
    owner text NOT NULL,
    owner_id text NOT NULL,
    name text NOT NULL,
    public boolean NOT NULL,
    status text NOT NULL,
    language text NOT NULL,
    gpu_capable boolean NOT NULL,
    created_at timestamptz NOT NULL,
    built_at timestamptz,
    registered_offset bigint NOT NULL,
    body json NOT NULL
);

-- Every record of the registry's topic, superseded and malformed ones too.
CREATE TABLE registry_events (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key text NOT NULL,
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

CREATE TABLE pools (
    pool text NOT NULL,
    created_offset bigint NOT NULL
);
