ALTER TABLE functions ADD PRIMARY KEY (key, version);
CREATE INDEX ON functions (created_at DESC, key DESC, version DESC);
ALTER TABLE registry_events ADD PRIMARY KEY (topic, partition, "offset");
ALTER TABLE pools ADD PRIMARY KEY (pool);
