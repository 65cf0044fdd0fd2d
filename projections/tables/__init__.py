"""The tables of a generation: one `NAME.sql` per projection, `NAME_indexes.sql` beside it."""
