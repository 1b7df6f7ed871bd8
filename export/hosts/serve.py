"""`page_server`: static files of one folder, on this machine alone, with the headers that the page needs."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sdkit.export.hosts.web import is_page
from sdkit.runtime.errors import ConfigError, MissingFileError

HOST = "127.0.0.1"
HEADERS = {
    # Browsers allow WebAssembly threads only on pages that isolate themselves.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


class PageHandler(SimpleHTTPRequestHandler):
    """Serves files of a folder; folders are not listed."""

    # Not the machine's own table of types, which may lack these or differ.
    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json; charset=utf-8",
        ".md": "text/plain; charset=utf-8",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
        ".npy": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Add the headers to every answer."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Refuse a folder without index.html."""
        self.send_error(404, "File not found")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no requests."""


def page_server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a page, bound to this machine's own address; `serve_forever()` starts it.

    Args:
        folder: folder that `write_page` wrote.
        port: port number; any free one when 0.

    Raises:
        MissingFileError: no page there.
        ConfigError: the port is not available.
    """
    if not is_page(Path(folder)):
        raise MissingFileError(f"{folder} is not a page of sdkit; `sdkit export --web {folder}` writes one")
    try:
        return ThreadingHTTPServer((HOST, port), partial(PageHandler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"port {port} cannot be had ({error}); choose another --port, or 0 for any") from error
