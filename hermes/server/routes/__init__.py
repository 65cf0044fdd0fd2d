"""Handlers, a file per kind of thing."""
