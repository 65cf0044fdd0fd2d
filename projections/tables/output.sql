-- Where each chunk of output stands in the log; the bytes stay there.
CREATE TABLE output_chunks (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    attempt bigint NOT NULL,
    seq bigint NOT NULL,
    stream text NOT NULL,
    stream_offset bigint NOT NULL,
    length integer NOT NULL,
    time timestamptz NOT NULL,
    after bigint NOT NULL
);

-- Records of the output topics that no agent of Hermes wrote.
CREATE TABLE refused_output (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key text NOT NULL,
    length integer NOT NULL
);
