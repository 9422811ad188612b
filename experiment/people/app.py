"""The page of a study as an ASGI application.

    GET  /             consent; a participant with a session goes on to /page
    POST /begin        begins a session, whose token is a cookie
    GET  /page         the present page of the session
    POST /page         an answer to the present page; one to another page is dropped. Redirects to /page
    GET  /picture/...  pictures of the person's side
    GET  /static/...   style and script

All state is in the log. Handlers change a session without waiting in between, so requests cannot mix. Answers that
come twice, late or from a second tab have the number of another page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mhng.experiment.errors import UsageError
from mhng.experiment.people.conditions import parse_condition
from mhng.experiment.people.page import (
    PRACTICE_PICTURE,
    STATIC,
    picture_name,
    render_consent,
    render_message,
    render_session,
    static_file,
)
from mhng.experiment.people.session import BadAnswerError, Session
from mhng.experiment.people.sessions import RECRUITING, FullError, KnownParticipantError, Sessions
from mhng.experiment.people.texts import texts

COOKIE = "study"
# Limits of a request: bytes of its body, fields, characters of an identification, and seconds until it is read.
MOST_BYTES, MOST_FIELDS, MOST_ID, PATIENCE = 64 * 1024, 300, 200, 30
_WEEK = 7 * 24 * 3600

HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer, browsers hide the origin of a form from us too.
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

log = logging.getLogger("mhng.study")


class BadRequestError(Exception):
    """A request that is refused with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class Site:
    """The handlers of one study."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions, self.study = sessions, sessions.study
        self._pictures = {picture_name(self.study, n): data for n, data in enumerate(self.study.pictures)}
        self._pictures[PRACTICE_PICTURE] = self.study.practice
        self._static = {name: static_file(name) for name in STATIC}

    def app(self) -> ASGIApp:
        """The application."""
        routes = [
            Route("/", self.first, methods=["GET"]),
            Route("/begin", self.begin, methods=["POST"]),
            Route("/page", self.show, methods=["GET"]),
            Route("/page", self.answer, methods=["POST"]),
            Route("/picture/{name}", self.picture, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]
        handlers: Any = {404: self.missing, 405: self.missing, BadRequestError: self.refused, Exception: self.fault}
        site = Starlette(routes=routes, exception_handlers=handlers)
        site.router.redirect_slashes = False  # the redirection would name the host that the request states
        return Guard(site, self)

    async def first(self, request: Request) -> Response:
        """The consent page."""
        recruiting = _recruiting(request.query_params)
        session = self._session(request)
        if session is not None and self.sessions.belongs(session, recruiting):
            return _to("/page")
        return self._consent(self._language(request), recruiting)

    async def begin(self, request: Request) -> Response:
        """Begin a session, if the participant agrees."""
        form = await _form(request)
        recruiting, language = _recruiting(form), form.get("language", "")
        if language not in self.study.design.languages:
            raise BadRequestError(400)
        if form.get("agree") != "yes":
            return self._consent(language, recruiting, "consent_needed")
        session = self._session(request)
        if session is not None and self.sessions.belongs(session, recruiting):
            return _to("/page")  # sent twice, or from a second tab
        try:
            token = self.sessions.begin(language, recruiting, _rule_of_bot(form))
        except KnownParticipantError:
            return HTMLResponse(render_message(language, "known"), 409)
        except FullError:
            return HTMLResponse(render_message(language, "full"), 503)
        response = _to("/page")
        secure = request.scope["scheme"] == "https"
        response.set_cookie(COOKIE, token, max_age=_WEEK, httponly=True, samesite="lax", secure=secure)
        return response

    async def show(self, request: Request) -> Response:
        """The present page."""
        session = self._session(request)
        if session is None:
            return self._message(request, "gone", 404)
        return HTMLResponse(render_session(session))

    async def answer(self, request: Request) -> Response:
        """Keep an answer."""
        form = await _form(request)
        session = self._session(request)
        if session is None:
            return self._message(request, "gone", 404)
        try:
            if self.sessions.answer(session, form):
                await asyncio.to_thread(self.sessions.flush, session.participant)
        except BadAnswerError as fault:
            return HTMLResponse(render_session(session, str(fault)), 422)
        except FileNotFoundError:
            return HTMLResponse(render_message(session.language, "gone"), 404)
        return _to("/page")

    async def picture(self, request: Request) -> Response:
        """A picture of the person's side."""
        data = self._pictures.get(request.path_params["name"])
        if data is None:
            raise BadRequestError(404)
        return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    async def static(self, request: Request) -> Response:
        """Style or script."""
        name = request.path_params["name"]
        if name not in self._static:
            raise BadRequestError(404)
        return Response(self._static[name], media_type=STATIC[name], headers={"cache-control": "max-age=3600"})

    async def missing(self, request: Request, error: Exception) -> Response:
        """A page for an unknown address."""
        return self._message(request, "missing", getattr(error, "status_code", 404))

    async def refused(self, request: Request, error: Exception) -> Response:
        """A page for a request that is refused."""
        status = error.status if isinstance(error, BadRequestError) else 400
        return self._message(request, "missing" if status == 404 else "refused", status)

    async def fault(self, request: Request, error: Exception) -> Response:
        """A page for an error of the server, such as a full disk or a damaged log."""
        log.error("%s %r: %s: %s", request.method, request.scope["path"], type(error).__name__, error)
        return self._message(request, "fault", 503)

    def _message(self, request: Request, name: str, status: int) -> Response:
        return HTMLResponse(render_message(self._language(request), name), status)

    def _consent(self, language: str, recruiting: Mapping[str, str], fault: str | None = None) -> Response:
        others = [
            (other, texts(other)["language"], "/?" + urlencode({"lang": other, **recruiting}))
            for other in self.study.design.languages
            if other != language
        ]
        page = render_consent(self.study, language, recruiting, others, fault)
        return HTMLResponse(page, 422 if fault else 200)

    def _session(self, request: Request) -> Session | None:
        return self.sessions.find(request.cookies.get(COOKIE))

    def _language(self, request: Request) -> str:
        """The language that the address or the browser asks for, or the first of the study."""
        known = self.study.design.languages
        if (asked := request.query_params.get("lang")) in known:
            return str(asked)
        for part in request.headers.get("accept-language", "").split(","):
            if (code := part.strip().partition(";")[0].partition("-")[0].lower()) in known:
                return code
        return known[0]


class Guard:
    """Adds the headers, and refuses forms of other sites."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        request = Request(scope)
        if scope["method"] == "POST" and not _is_from_here(request):
            response = await self.site.refused(request, BadRequestError(403))
            await response(scope, receive, guarded)
            return
        with suppress(Exception):  # `Site.fault` has shown a page and logged the error
            await self.app(scope, receive, guarded)


def _is_from_here(request: Request) -> bool:
    """Whether a form was sent from our page: browsers state the origin, other programs need not."""
    origin = request.headers.get("origin")
    if origin is not None:
        host = origin.partition("://")[2].lower()
        if not host or host != request.headers.get("host", "").lower():
            return False
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; a repeated field has its last value. Raises BadRequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequestError(415)
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > MOST_BYTES:
        raise BadRequestError(413)
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise BadRequestError(413)
    except (TimeoutError, ClientDisconnect) as error:
        raise BadRequestError(408) from error
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise BadRequestError(400) from error


def _rule_of_bot(form: Mapping[str, str]) -> str | None:
    """The rule of a bot; None for a person. Raises BadRequestError for another text."""
    if not form.get("bot"):
        return None
    try:
        return parse_condition(form["bot"]).name
    except UsageError as error:
        raise BadRequestError(400) from error


def _recruiting(values: Mapping[str, str]) -> dict[str, str]:
    """The identifications of a recruiting site, cut to MOST_ID characters."""
    return {name: values[name][:MOST_ID] for name in RECRUITING if values.get(name)}


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
