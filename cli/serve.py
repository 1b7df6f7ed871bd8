"""`sdkit serve`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.screen import say


def serve(
    folder: Annotated[Path, typer.Argument(help="Page that `sdkit export --web` wrote.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8000,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
) -> None:
    """Serve a page to this machine's browsers, and open it."""
    import webbrowser

    from sdkit.export.hosts.serve import HOST, page_server

    with page_server(folder, port) as server:
        address = f"http://{HOST}:{server.server_address[1]}/"
        say(f"serving {folder} at {address}; stop with Ctrl-C")
        if not no_open:
            webbrowser.open(address)
        server.serve_forever()
