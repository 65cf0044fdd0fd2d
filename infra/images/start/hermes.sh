#!/bin/bash
# Starts a role of Hermes, the Python module that is named: hermes.server, streams.agent, ...
set -euo pipefail

if [ -n "${PGPASSWORD_FILE:-}" ]; then
  PGPASSWORD=$(<"$PGPASSWORD_FILE")
  export PGPASSWORD
fi
if [ "$1" = streams.agent ]; then
  # Engines cover parts of /proc. Then no sandbox could have a /proc of its own, unless the container
  # shows a whole one somewhere; this one ends with the container and shows its processes alone.
  mkdir -p /run/proc
  mount -t proc proc /run/proc
fi
exec python3 -P -m "$@"
