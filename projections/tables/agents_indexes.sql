ALTER TABLE agents ADD PRIMARY KEY (topic, id);
