CREATE SCHEMA accounts;

CREATE TABLE accounts.users (
    id            text PRIMARY KEY,
    username      text NOT NULL UNIQUE,
    admin         boolean NOT NULL,
    password_hash text,
    created_at    timestamptz NOT NULL,
    deleted_at    timestamptz
);
COMMENT ON TABLE accounts.users IS 'Deleted users stay, so that their names are never given again.';

CREATE TABLE accounts.tokens (
    sha256     bytea PRIMARY KEY,
    user_id    text NOT NULL REFERENCES accounts.users,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX tokens_by_user ON accounts.tokens (user_id);

CREATE TABLE accounts.idempotency (
    user_id    text NOT NULL REFERENCES accounts.users,
    route      text NOT NULL,
    key        text NOT NULL,
    digest     bytea NOT NULL,
    subject_id text NOT NULL,
    answer     bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, route, key)
);
CREATE INDEX idempotency_by_age ON accounts.idempotency (created_at);

CREATE TABLE accounts.blobs (
    user_id     text NOT NULL REFERENCES accounts.users,
    sha256      text NOT NULL,
    bytes       bigint NOT NULL,
    uploaded_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, sha256)
);
COMMENT ON TABLE accounts.blobs IS 'Who uploaded which input: knowing a hash is not owning its bytes.';

CREATE TABLE accounts.secrets (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
