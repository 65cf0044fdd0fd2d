"""One Apache Kafka node in KRaft mode, on loopback, from the jars of `infra.embedded.jars`.

Measured on two cores: ready in 0.6 s with the class archive (1.4 s without), in 2.6 s after a kill
-9, when the controller waits for the old broker's session to be over.
"""

from __future__ import annotations

import base64
import shutil
import socket
import struct
import uuid
from pathlib import Path

import msgspec

from infra.embedded.jars import Report, ensure_jars, jar_paths
from infra.embedded.jvm import archive_path, java
from infra.embedded.ports import LOOPBACK
from infra.embedded.spawn import run_to_end

_FOLDER = Path(__file__).parent
_FORMAT_TIMEOUT = 60.0
_METADATA_REQUEST = struct.pack(">hhihi", 3, 1, 1, -1, 0)  # Metadata, version 1, no topics


class KafkaNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose data lies in `folder`; ports on loopback."""

    folder: Path
    port: int
    controller_port: int

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self, report: Report = lambda line: None) -> None:
        """Fetch the jars and format the data folder, what is missing of it; clean up.

        Raises JarsUnavailable or EmbeddedFault.
        """
        jars = ensure_jars(report)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Native libraries unpacked by a node that was killed.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        if not self._data.exists():
            report("Formatting Apache Kafka's data folder")
            self._format(jars)

    def command(self, *options: str) -> list[str]:
        """The broker's argv, after `prepare`; to be started in `folder`.

        JVM `options` stand in place of the class archive.
        """
        jars = jar_paths()
        self._write_config(self._data)
        # Without an archive, or with one that does not fit, the JVM just starts slower.
        options = options or (f"-XX:AOTCache={archive_path(jars)}",)
        return [*self._java(jars, *options), "kafka.Kafka", str(self._config)]

    def is_ready(self) -> bool:
        """Whether the node answers and counts itself among the brokers; takes at most 0.2 s."""
        try:
            with socket.create_connection((LOOPBACK, self.port), 0.2) as connection:
                connection.settimeout(0.2)
                size = struct.pack(">i", len(_METADATA_REQUEST))
                connection.sendall(size + _METADATA_REQUEST)
                answer = connection.recv(12, socket.MSG_WAITALL)
        except OSError:
            return False
        return len(answer) == 12 and struct.unpack(">i", answer[8:])[0] >= 1

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _scratch(self) -> Path:
        return self.folder / "tmp"

    def _java(self, jars: list[Path], *options: str) -> list[str]:
        return java(jars, *options, f"-Djava.io.tmpdir={self._scratch}")

    def _format(self, jars: list[Path]) -> None:
        # Into a folder of another name first: a half formatted one is never taken for data.
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._write_config(new)
        # Kafka's own notation. The tool takes an id that starts with a dash for an option.
        cluster = "-"
        while cluster.startswith("-"):
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        run_to_end(
            [
                *self._java(jars),
                *("kafka.tools.StorageTool", "format"),
                *("--cluster-id", cluster, "--config", str(self._config)),
            ],
            timeout=_FORMAT_TIMEOUT,
            log=self.folder / "format.log",
        )
        new.rename(self._data)

    def _write_config(self, data: Path) -> None:
        listener = f"PLAINTEXT://{LOOPBACK}:{self.port}"
        lines = [
            (_FOLDER / "kafka.properties").read_text(),
            f"listeners={listener},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            f"advertised.listeners={listener}",
            f"controller.quorum.voters=1@{LOOPBACK}:{self.controller_port}",
            # Relative: a file of properties cannot hold every path there is.
            f"log.dirs={data.name}",
        ]
        new = self._config.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.replace(self._config)
