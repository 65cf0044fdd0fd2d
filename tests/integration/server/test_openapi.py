"""The description is true: requests made from it get answers that it allows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hermes.server.table import ROUTES
from tests.support.api import Api

_SECONDS = 90


async def test_the_description_names_every_route(api: Api) -> None:
    paths = (await api.nobody.get("/openapi.json")).expect(200)["paths"]
    described = {(m.upper(), path) for path, methods in paths.items() for m in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


async def test_requests_made_from_the_description_get_answers_that_it_allows(
    api: Api, tmp_path: Path
) -> None:
    user = await api.user()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{api.url}/v1/openapi.json",
        *("--header", f"Authorization: Bearer {user.token}"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "8"),
        # Streams last, these two take away the token that all others need, and archives are tried
        # elsewhere.
        *("--exclude-path-regex", "/tail$"),
        *("--exclude-operation-id", "delete_tokens_current"),
        *("--exclude-operation-id", "delete_users_me"),
        *("--exclude-operation-id", "post_functions"),
        *("--exclude-operation-id", "post_builds"),
        *("--checks", "not_a_server_error,status_code_conformance"),
        *("--checks", "content_type_conformance,response_schema_conformance"),
        *("--request-timeout", "20"),
        "--suppress-health-check=all",
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()[-8000:]
