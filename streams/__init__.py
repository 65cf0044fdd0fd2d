"""The log: topics, codec, and the reactions to it."""
