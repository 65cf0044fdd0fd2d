"""Numbered migrations of the schema `hermes`."""
