"""Sandboxes as containers of a Docker engine, behind the same port as bubblewrap's."""
