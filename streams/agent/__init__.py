"""The GPU agent: the process on a host that claims attempts and runs them in sandboxes."""
