"""The images in which Docker's sandboxes build and run functions."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from urllib.parse import quote

from infra.diagnosis.check import Check
from infra.toolchain.image_recipes import LANGUAGES, NAME_LABEL, REPOSITORY

_TIMEOUT = 1.0
_NAME = "toolchain images"


def toolchains(home: Path) -> Check:
    """For which languages the engine has the images."""
    required = os.environ.get("HERMES_SANDBOX") == "docker"
    if named := os.environ.get("HERMES_TOOLCHAIN_IMAGES"):
        return Check(_NAME, True, False, f"not looked at, others are named: {named}")
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        found = _names(host.removeprefix("unix://"))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        advice = "See to the check docker first; bubblewrap needs no images."
        return Check(_NAME, False, required, f"no engine says what it has: {error}", advice)
    ready = [language for language, images in LANGUAGES.items() if found.issuperset(images)]
    if not ready:
        advice = "Build them with: hermes toolchain build (cuda: hermes toolchain build cuda)."
        return Check(_NAME, False, required, "none in the engine", advice)
    return Check(_NAME, True, required, f"for {' and '.join(ready)}")


def _names(path: str) -> set[str]:
    """The current toolchain images. Raises OSError, HTTPException, and more if it is no engine."""
    connection = http.client.HTTPConnection("docker", timeout=_TIMEOUT)
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(_TIMEOUT)
        connection.sock.connect(path)
        filters = quote(json.dumps({"label": [NAME_LABEL]}))
        connection.request("GET", f"/images/json?filters={filters}")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the engine answers {answer.status}")
        images = json.loads(answer.read())
    return {
        str(name)
        for image in images
        if f"{REPOSITORY}/{(name := image['Labels'][NAME_LABEL])}:latest"
        in (image["RepoTags"] or ())
    }
