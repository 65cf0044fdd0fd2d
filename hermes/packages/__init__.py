"""Function folders as packages: their config, and the archives that carry them.

Nothing here touches the network or the log, and the CLI imports it, so it stays light. Everything
that reads an archive or a config takes it for hostile.
"""
