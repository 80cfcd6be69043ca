"""The gateway's page for browsers, and the calls that it makes.

    json_calls      `ChatService` as JSON over HTTP
    json_lines      a stream of such answers
    page            the files of the page, and what a browser may do with them
    static/         the page itself: HTML, CSS and ES modules that no build step touches

Knows nothing of how a server is run: it gives `web_routes` to whoever runs one.
"""

from services.gateway.web.routes import web_routes

__all__ = ["web_routes"]
