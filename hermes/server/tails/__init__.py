"""Tails: an execution's events and output in one order, live or from any point of the log."""
