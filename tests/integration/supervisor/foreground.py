"""Runs a supervisor in the foreground, as the CLI does. argv: the options as JSON."""

import sys

from rich.console import Console

from hermes.errors import HermesError
from infra.supervisor.display import display_for
from infra.supervisor.foreground import run_foreground
from infra.supervisor.plan import UpOptions

try:
    run_foreground(UpOptions.decode(sys.argv[1]), display_for(Console(stderr=True)))
except HermesError as error:
    sys.exit(f"{error.title()}: {error.detail}")
