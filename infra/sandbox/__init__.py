"""Sandboxes for programs that nobody vouches for: one port, adapters behind it."""
