"""Accounts, tokens and idempotency keys: the one thing to back up besides the log and the blobs."""
