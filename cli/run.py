"""`hermes run`: one round trip from the command line to a running program and its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.options import Noun
from cli.problem import Problem, usage
from cli.refs import parse_ref, parse_size
from cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

app = Noun("run", "Run a function.")


EXAMPLES = """echo "5 1 2 3 4 5" | hermes run ana/reduce-sum
hermes run ana/reduce-sum:1.0.0 --file numbers.txt --timeout 30
hermes run ana/gpu-pi --input 1000000 --gpu-count 2 --gpu-name "*A100*"
hermes run ana/gpu-pi --input 1000000 --async"""


@app.verb("run", examples=EXAMPLES)
def run(  # noqa: PLR0917 - options, given by name
    session: Session,
    ref: Annotated[str, typer.Argument(metavar="REF", help="OWNER/NAME[:VERSION].")],
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="F", help="Input file; - is stdin.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--input", metavar="TEXT", help="The input itself.")
    ] = None,
    detached: Annotated[
        bool, typer.Option("--async", "-a", help="Print the execution's id and leave.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", help="Seconds it may run.")
    ] = None,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="On a GPU, or on none.")
    ] = None,
    gpu_count: Annotated[
        int | None, typer.Option("--gpu-count", metavar="N", min=1, help="Number of GPUs.")
    ] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option("--gpu-memory", metavar="B", help="Least memory per GPU, such as 16GiB."),
    ] = None,
    gpu_name: Annotated[
        str | None, typer.Option("--gpu-name", metavar="G", help="Pattern for the GPU's name.")
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option("--compute-capability", metavar="X.Y", help="Least compute capability."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="P", help="Pool of machines.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="K", help="The same key runs it only once."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Do not escape control characters on a terminal.")
    ] = False,
) -> int:
    """Run a function and stream what it writes; exit with the program's code.

    Input comes from --file or --input, else from a pipe, else from a prompt. Exit codes: the
    program's own; 128+N ended by signal N; 124 timed out; 125 Hermes failed, cancelled or out of
    memory; 130 detached by Ctrl-C.
    """
    body: dict[str, Any] = {"function": str(parse_ref(ref))}
    if timeout is not None:
        if not 0 < timeout < float("inf"):
            raise usage("--timeout must be a number of seconds above 0")
        body["timeout"] = timeout
    wanted_gpu = _gpu(gpu, gpu_count, gpu_memory, gpu_name, compute_capability)
    if wanted_gpu is not None:
        body["gpu"] = wanted_gpu
    if pool is not None:
        body["pool"] = pool
    headers = _key_header(idempotency_key)
    try:
        body.update(_input(session, file, text))
        if detached:
            return _start(session, body, headers)
        from cli.live_run import follow_new_execution  # noqa: PLC0415

        return follow_new_execution(session, body, headers, raw=raw)
    except Problem as problem:
        problem.exit_code = exit_codes.for_refused_run(problem.exit_code)
        raise


def _input(session: Session, file: str | None, text: str | None) -> dict[str, Any]:
    from cli.inputs import input_fields  # noqa: PLC0415

    return input_fields(session.client, file, text)


def _start(session: Session, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    execution = session.client.post("/v1/executions", body, headers).json()
    if session.json:
        session.out.document(execution)
    else:
        session.out.line(str(execution["id"]))
    return exit_codes.OK


def _key_header(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not 1 <= len(key) <= 128 or not all("!" <= character <= "~" for character in key):
        raise usage("--idempotency-key takes 1 to 128 visible ASCII characters")
    return {"Idempotency-Key": key}


def _gpu(
    gpu: bool | None,
    count: int | None,
    memory: str | None,
    name: str | None,
    capability: str | None,
) -> bool | dict[str, Any] | None:
    """The request's `gpu` field: nothing, yes or no, or what the GPU must be like."""
    wishes: dict[str, Any] = {
        "count": count,
        "memory": None if memory is None else parse_size(memory, "--gpu-memory"),
        "name": name,
        "computeCapability": capability,
    }
    wishes = {field: value for field, value in wishes.items() if value is not None}
    if wishes and gpu is False:
        raise usage("--no-gpu and wishes for a GPU exclude each other")
    return wishes or gpu
