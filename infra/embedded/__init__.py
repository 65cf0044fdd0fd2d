"""Apache Kafka and PostgreSQL on one machine, from pip packages: no Docker, no JDK, no root."""
