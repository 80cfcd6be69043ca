"""The page's files, and what a browser may do with them: run these scripts, talk to this server, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    import os

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
ASSETS_PATH = "/assets"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text becomes markup in two places only: the templates of lit-html, and what DOMPurify has let through.
        "require-trusted-types-for 'script'",
        "trusted-types lit-html dompurify",
    )
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked for again each time and answered with 304, so that a page never runs modules of two versions.
    "Cache-Control": "no-cache",
}


async def page(request: Request) -> Response:
    """Answers with the page."""
    del request
    return FileResponse(STATIC / "index.html", headers=_HEADERS)


class _Assets(StaticFiles):
    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


def assets() -> StaticFiles:
    """Returns what answers with the page's scripts, styles and pictures."""
    return _Assets(directory=STATIC)
