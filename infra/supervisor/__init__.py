"""`hermes up`: every role of Hermes on one machine, as children of one supervisor."""
