"""The connection: who is let in, the entry page, downloads. All answers forbid requests to elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from aiohttp import web
from trame_client.module import vue3

from .session import Session

_STATIC = Path(__file__).resolve().parent / "static"
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_WAIT_S, _STEP_S = 1.5, 0.05  # for the tab that is being reloaded to close its connection
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Gate:
    """Lets requests in and answers those that are not trame's own.

    Parameters
    ----------
    session : Session
    find_download : callable
        Gives the file behind a name, or None.
    """

    def __init__(self, session: Session, find_download: Callable[[str], Path | None]):
        self._session, self._find_download = session, find_download

    def join(self, app: web.Application) -> None:
        """Take part in a web application that has not started."""
        app.middlewares.append(self._guard)
        app.router.add_get("/", self._page)
        app.router.add_get("/index.html", self._page)
        app.router.add_get("/wait", self._wait)
        app.router.add_post("/take", self._take)
        app.router.add_post("/paraview/", self._launch)
        app.router.add_get("/download/{name}", self._download)
        app.router.add_static("/static", _STATIC)

    @web.middleware
    async def _guard(self, request: web.Request, handler) -> web.StreamResponse:
        """Token, host and origin of every request, and one connection at a time."""
        session = self._session
        if not session.is_here(request.headers.get("Host"), request.headers.get("Origin")):
            return _secured(web.Response(status=403, text="This server answers its own page alone."))
        token = request.query.get("token")
        if token is not None and session.knows(token) and request.path == "/":
            answer = web.HTTPSeeOther("/")
            answer.set_cookie(session.cookie, session.token, httponly=True, samesite="Lax", path="/")
            raise _secured(answer)
        if not session.knows(request.cookies.get(session.cookie)):
            return _secured(
                _message(403, "No entry", "Open the whole address that breastcmsl serve has printed.")
            )
        if request.path == "/ws":
            return await self._connect(request, handler)
        try:
            return _secured(await handler(request))
        except web.HTTPException as error:
            raise _secured(error) from None

    async def _connect(self, request: web.Request, handler) -> web.StreamResponse:
        tab = asyncio.current_task()
        if not self._session.enter(tab):
            return _secured(web.Response(status=409, text="The exam is open in another tab."))
        try:
            return await handler(request)
        finally:
            self._session.leave(tab)

    async def _page(self, _request: web.Request) -> web.Response:
        """The page; while a tab is connected a stop-over: a tab that is reloaded stays until it has this."""
        if self._session.occupied:
            return web.Response(content_type="text/html", text=_filled("stopover.html"))
        return web.Response(content_type="text/html", text=_page_with_trame())

    async def _wait(self, _request: web.Request) -> web.Response:
        """Go on to the page once the other tab is gone, or say that it is not."""
        for _ in range(round(_WAIT_S / _STEP_S)):
            if not self._session.occupied:
                raise web.HTTPSeeOther("/")
            await asyncio.sleep(_STEP_S)
        return web.Response(content_type="text/html", text=_filled("taken.html"))

    async def _take(self, _request: web.Request) -> web.Response:
        """Close the other tab's connection."""
        if self._session.tab is not None:
            self._session.tab.cancel()
        for _ in range(round(_WAIT_S / _STEP_S)):
            if not self._session.occupied:
                break
            await asyncio.sleep(_STEP_S)
        raise web.HTTPSeeOther("/")

    async def _launch(self, request: web.Request) -> web.Response:
        """Trame's page asks where to connect before it does."""
        return web.json_response({"sessionURL": f"ws://{request.host}/ws", "secret": "wslink-secret"})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = self._find_download(name)
        if path is None:
            return _message(404, "Not there", "These results are no longer there; analyse the exam again.")
        shown = name == "report.html"
        kind = "inline" if shown else "attachment"
        headers = {"Content-Disposition": f'{kind}; filename="{name}"'}
        headers |= {"Content-Security-Policy": _REPORT_POLICY} if shown else {}
        return web.FileResponse(path, headers=headers)


def _secured(answer: web.StreamResponse) -> web.StreamResponse:
    for name, value in _SECURITY.items():
        answer.headers.setdefault(name, value)
    return answer


def _page_with_trame() -> str:
    """The page with what trame's own names of its scripts and styles, which change with its version."""
    own = Path(vue3.www, "index.html").read_text(encoding="utf-8")
    parts = re.findall(r"<script[^>]*src=[^>]*></script>|<link[^>]*stylesheet[^>]*>", own)
    return _filled("page.html").replace("{trame}", "\n".join(parts))


def _filled(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _message(status: int, title: str, text: str) -> web.Response:
    """A page that says one thing."""
    page = _filled("message.html").replace("{title}", escape(title)).replace("{text}", escape(text))
    return web.Response(status=status, content_type="text/html", text=page)
