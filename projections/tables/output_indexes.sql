ALTER TABLE output_chunks ADD PRIMARY KEY (topic, partition, "offset");
CREATE INDEX ON output_chunks (execution_id, attempt, seq);
ALTER TABLE refused_output ADD PRIMARY KEY (topic, partition, "offset");
