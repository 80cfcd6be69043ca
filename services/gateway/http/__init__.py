"""The gateway's HTTP door: its server's life, and what holds for every request whichever room answers it.

Knows no room behind it: each brings its routes, and `build_app` puts them behind one front, which checks where a
request comes from, turns errors into answers and writes the log line.
"""

from services.gateway.http.app import AppParts, build_app
from services.gateway.http.callers import Callers
from services.gateway.http.metrics import Metrics
from services.gateway.http.server import HttpServer

__all__ = ["AppParts", "Callers", "HttpServer", "Metrics", "build_app"]
