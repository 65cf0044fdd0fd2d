"""PostgreSQL views of the log: they can be thrown away and rebuilt."""
