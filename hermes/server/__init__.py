"""The REST API with its live tails: commands become events, queries read views and the log."""
