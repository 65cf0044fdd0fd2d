ALTER TABLE executions ADD PRIMARY KEY (topic, id);
CREATE INDEX ON executions (owner_id, created_at DESC, id DESC);
CREATE INDEX ON executions (owner_id, function, created_at DESC, id DESC);
CREATE INDEX ON executions (owner_id, id);
ALTER TABLE events ADD PRIMARY KEY (topic, partition, "offset");
CREATE INDEX ON events (topic, execution_id, "offset") WHERE execution_id IS NOT NULL;
