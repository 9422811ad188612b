"""A small browser for bots: pages by HTTP, or by the application in this process."""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import Mapping
from html import unescape
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

from mhng.experiment.errors import RunError, UsageError

_PATIENCE = 60  # seconds


class Answer(NamedTuple):
    """What a server sent. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The page."""
        return self.body.decode("utf-8")

    @property
    def data(self) -> dict[str, str]:
        """The data attributes of the page: kind, index, object, sign, offered."""
        main = re.search(r"<main ([^>]*)>", self.text)
        return {} if main is None else {k: unescape(v) for k, v in re.findall(r'data-(\w+)="([^"]*)"', main[1])}


class Transport(Protocol):
    """Sends one request."""

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request."""


class Client:
    """One browser: it keeps its cookies, and follows no redirection by itself."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self._send("GET", path, headers, b"")

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Answer:
        """POST a form."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._send("POST", path, {**kind, **headers}, urlencode(form).encode("ascii"))

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.transport.send(method, path, sent, body)
        if "set-cookie" in answer.headers:
            name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name.strip()] = value.strip()
        return answer


class InProcess:
    """Calls an ASGI application in this process, one request after the other."""

    def __init__(self, app: Any, scheme: str = "http") -> None:
        self.app, self.scheme = app, scheme
        self._loop = asyncio.new_event_loop()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request."""
        return self._loop.run_until_complete(self._call(method, path, headers, body))

    def close(self) -> None:
        """Close the event loop."""
        self._loop.close()

    async def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        address, _, query = path.partition("?")
        given = {"host": "study", "content-length": str(len(body)), **headers}
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": self.scheme,
            "path": address, "raw_path": address.encode(), "query_string": query.encode(), "root_path": "",
            "headers": pairs, "client": ("127.0.0.1", 1), "server": ("study", 80),
        }  # fmt: skip
        started: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, send)
        found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in started["headers"]}
        return Answer(started["status"], found, b"".join(parts))


class Http:
    """Requests to a server, over one connection that is kept."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for an address that is not http://HOST[:PORT] or https://HOST[:PORT]."""
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            parts = urlsplit(url)
            if not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError(url)
            self._connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=_PATIENCE)
        except (ValueError, KeyError, http.client.InvalidURL) as error:
            raise UsageError(f"--url is {url!r}; expected an address such as http://127.0.0.1:8000") from error
        self.url = url

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request. Raises RunError if the server cannot be reached."""
        try:
            self._connection.request(method, path, body or None, dict(headers))
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RunError(f"{self.url} does not answer: {error or type(error).__name__}") from error
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
