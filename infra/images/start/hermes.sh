#!/bin/bash
# Starts a role of Hermes, the Python module that is named: hermes.server, streams.agent, ...
set -euo pipefail

if [ -n "${PGPASSWORD_FILE:-}" ]; then
  PGPASSWORD=$(<"$PGPASSWORD_FILE")
  export PGPASSWORD
fi
if [ "$1" = streams.agent ]; then
  # Engines cover and lock parts of /proc, and then no sandbox can have one of its own. This one shows
  # the container's processes alone and ends with it.
  mount -t proc proc /proc
fi
exec python3 -P -m "$@"
