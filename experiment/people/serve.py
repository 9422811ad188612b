"""The commands `study serve` and `study demo`: the page of a study on a port of this machine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.people.study import Study
from mhng.experiment.util.files import error_line
from mhng.experiment.util.locks import locked
from mhng.experiment.util.output import print_note


def require_packages() -> None:
    """Raise UsageError that says how to install the packages of the page, if they are absent."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page of a study requires the package {error.name}; pip install 'mh-naming-game[study]'"
        ) from error


def application(study: Study) -> Any:
    """The ASGI application of a study."""
    from mhng.experiment.people.app import Site
    from mhng.experiment.people.sessions import Sessions

    sessions = Sessions(study)
    for participant in sessions.repaired:
        print_note(f"note: the log of {participant} ended in a line without an end, which is cut")
    return Site(sessions).app()


def serve(study: Study, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[str], object] = print) -> None:
    """Serve a study until the process is stopped. ready: called with the line that names the address.

    Raises UsageError if the folder is in use or the address cannot be used.
    """
    if not host:
        raise UsageError("--host is empty; expected an address, such as 0.0.0.0 for all addresses of this machine")
    if not 0 <= port < 2**16:
        raise UsageError(f"--port is {port}; expected 0 to 65535")
    require_packages()
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                shown = f"[{host}]" if ":" in host else host
                bound = self.servers[0].sockets[0].getsockname()[1]
                ready(f"Study {study.design.name}: http://{shown}:{bound}/ (Ctrl-C stops)")

    with locked(study.path), closing(_bound(host, port)) as listening:
        config = uvicorn.Config(
            application(study), host, port, log_level="error", access_log=False, server_header=False, lifespan="off",
            ws="none", timeout_keep_alive=30, limit_concurrency=2000,
        )  # fmt: skip
        Server(config).run([listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine. Raises UsageError."""
    result = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a host of odd characters
        result.close()
        raise UsageError(f"--host {host} --port {port} cannot be used: {error_line(error)}") from error
    return result


def demo(host: str = "127.0.0.1", port: int = 8000, ready: Callable[[str], object] = print) -> None:
    """Serve a study of one block with drawn creatures from a folder that is removed afterwards."""
    require_packages()
    with tempfile.TemporaryDirectory(prefix="mhng-demo-") as folder:
        path = Path(folder) / "demo"
        write_demo(path)
        ready("Demo: nothing is kept. In the end it shows what you and the agent meant by each name.")
        serve(Study.open(path), host, port, ready)


def write_demo(path: Path) -> None:
    """Write the study of the demo."""
    from mhng.experiment.people.design import Design
    from mhng.experiment.people.new import write_study
    from mhng.experiment.people.sides import sides_of_data

    design = Design(
        name="demo", seed=1, source="creatures", partners=("mh",), blocks=1, offers=12, objects=8, signs=4, groups=4,
        languages=("en", "ja"), demo=True,
    )  # fmt: skip
    consent = {
        "en": "This is a demo. It takes about three minutes. What you answer is deleted when the demo is stopped.",
        "ja": "これはデモです。約 3 分かかります。回答は、デモを終了すると消えます。",
    }
    write_study(path, design, sides_of_data("creatures", 8, 4, 1), consent)
