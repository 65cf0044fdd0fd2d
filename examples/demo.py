"""`make demo`: Hermes does its main job for a person to watch, then says what to try next.

Everything happens through the `hermes` command, as a user would type it; each command is shown
before it runs. All data stays in .demo/ of this checkout.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from infra.engine import EngineUnavailable, connect

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
HERMES = Path(sys.executable).with_name("hermes")
FUNCTIONS = Path("examples/functions")
USER = "demo"
PASSWORD = "a password for the demo only"  # noqa: S105 - loopback, and thrown away by `make clean`

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main() -> int:
    """Show the whole job; 0 if every step did what it should."""
    demo = Demo()
    started = time.monotonic()
    try:
        demo.show()
    except StepFailed as failure:
        print(f"\nThe demo stopped: {failure}. Logs: {DEMO}/home/logs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    finally:
        demo.stop()
    print(bold(f"\nThat took {time.monotonic() - started:.0f} s. What to try next:"))
    print(NEXT)
    return 0


class StepFailed(Exception):
    """A command of the demo did not end as it should."""


class Demo:
    """The steps, and the environment that they share."""

    def __init__(self) -> None:
        DEMO.mkdir(exist_ok=True)
        self._environment = {
            **os.environ,
            "HERMES_HOME": str(DEMO / "home"),
            "XDG_CONFIG_HOME": str(DEMO / "config"),
            "PATH": f"{HERMES.parent}:{os.environ['PATH']}",
        }
        # A server of your own that this shell points to is not the demo's business.
        for name in ("HERMES_URL", "HERMES_TOKEN", "HERMES_KAFKA", "HERMES_DATABASE"):
            self._environment.pop(name, None)
        self._up = False

    def show(self) -> None:
        """Every step of the main job."""
        self._toolchains()
        title("One command starts everything: Apache Kafka, PostgreSQL and Hermes' five roles")
        self.run("hermes up --detach")
        self._up = True
        self.run("hermes status")

        title("A user registers")
        self._sign_in()

        title("The agent: what it runs programs in, and its GPUs if it has any")
        self.run("hermes agent list")

        title("A function is a folder: hermes.config.json, a Makefile and C++ (or CUDA) code")
        self.run(
            f"cat {FUNCTIONS}/pi-montecarlo/hermes.config.json {FUNCTIONS}/pi-montecarlo/Makefile"
        )
        title("Deploying it builds it on the server, in a sandbox; this is the build's log")
        self._deploy("pi-montecarlo")
        self._deploy("waiter")

        title("A synchronous run: input from a pipe, output live, the program's own exit code")
        self.run(f"echo 20000000 2 | hermes run {USER}/pi-montecarlo")

        title("An asynchronous run hands back its id at once, and is tailed while it runs")
        execution = self.read(f"hermes run --async --input '4 1' {USER}/waiter")
        self.run(f"hermes execution tail {execution}")

        title("Every execution is kept: the list, and all there is to know of one")
        self.run("hermes execution list --limit 5")
        self.run(f"hermes execution inspect {execution}")

        title("The log is the system: each change is an event in Kafka, here with its position")
        self.run(f"hermes execution events {execution}")

        title("An auditor replays the output with its own timing, here four times as fast")
        self.run(f"hermes execution replay --speed 4 {execution}")

        title("PostgreSQL is only a view: rebuild it from the log, and compare every row")
        self.run("hermes projection rebuild --yes")
        self.run("hermes projection status")

    def stop(self) -> None:
        """Stop what the demo started; only its data folder stays."""
        if self._up:
            title("Stopping")
            self.run("hermes down", must=False)

    def _toolchains(self) -> None:
        """Images to build and run in, where an engine answers; made once, then found again."""
        try:
            asyncio.run(_engine_answers())
        except EngineUnavailable as error:
            title(f"No containers here ({error}), so programs run in bubblewrap")
            return
        title("A container engine answers: functions are built and run in images made here")
        if self.run("hermes toolchain build cpp", must=False) != 0:
            print(dim("(no images, so programs run in bubblewrap)"))

    def _sign_in(self) -> None:
        secret = f"printf %s {shlex.quote(PASSWORD)} | "
        known = self.run(
            f"{secret}hermes remote login {USER} --password-stdin", must=False, show=False
        )
        if known != 0:
            self.run(f"{secret}hermes remote register {USER} --password-stdin", show=False)
        self.run("hermes remote whoami")

    def _deploy(self, name: str) -> None:
        folder = FUNCTIONS / name
        if self.run(f"hermes function inspect {USER}/{name}", must=False, show=False) == 0:
            print(dim(f"({USER}/{name} is here from an earlier demo; deleting it first)"))
            self.run(f"hermes function delete {name} --yes", show=False)
        self.run(f"hermes function deploy {folder}")

    def run(self, command: str, *, must: bool = True, show: bool = True) -> int:
        """Run a command as typed; its output goes straight to the terminal unless hidden."""
        if show:
            print(prompt(command), flush=True)
        hidden = None if show else subprocess.DEVNULL
        code = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=ROOT,
            env=self._environment,
            stdout=hidden,
            stderr=hidden,
            check=False,
        ).returncode
        if code != 0 and must:
            raise StepFailed(f"`{command}` ended with {code}")
        return code

    def read(self, command: str) -> str:
        """Run a command and show what it printed, which is returned."""
        print(prompt(command), flush=True)
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise StepFailed(f"`{command}` ended with {done.returncode}")
        print(done.stdout, end="", flush=True)
        return done.stdout.strip()


async def _engine_answers() -> None:
    """Raises EngineUnavailable."""
    client = await connect()
    await client.close()


def bold(text: str) -> str:
    """For a terminal, bold."""
    return f"\033[1m{text}\033[0m" if COLOUR else text


def dim(text: str) -> str:
    """For a terminal, dim."""
    return f"\033[2m{text}\033[0m" if COLOUR else text


def title(text: str) -> None:
    """Say what comes next."""
    print(bold(f"\n# {text}"), flush=True)


def prompt(command: str) -> str:
    """A command as it would stand in a shell."""
    return f"\033[32m$\033[0m {command}" if COLOUR else f"$ {command}"


NEXT = """  source .venv/bin/activate
  hermes up                          # in one terminal; Ctrl-C ends everything
  hermes remote register             # in another
  hermes function init my-function --language cpp && hermes function deploy my-function
  hermes run YOU/my-function --input hello
  hermes doctor                      # what this machine has, and how to add CUDA
"""


if __name__ == "__main__":
    sys.exit(main())
