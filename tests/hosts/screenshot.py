"""A picture of a page that `sdkit export --web` wrote: `python -m tests.hosts.screenshot PAGE PICTURE.png`.

It needs Playwright and a browser, as the tests of the page do.
"""

import sys
import threading
from importlib import import_module
from pathlib import Path

from sdkit.export.hosts.serve import page_server
from tests.hosts.web import browser

WIDTH, FRAME, PATIENCE, SETTLING = 1120, 4, 120_000, 1000


def screenshot(page: Path, picture: Path) -> None:
    """Draw the whole page, paused at its fifth frame."""
    playwright = import_module("playwright.sync_api")
    with page_server(page) as server, playwright.sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = driver.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        visit = chromium.new_page(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")
        visit.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        visit.wait_for_selector("html[data-state=ready]", timeout=PATIENCE)
        # The bar of playback is fixed to the window's foot: the window becomes as high as the page.
        height = visit.evaluate("document.documentElement.scrollHeight")
        visit.set_viewport_size({"width": WIDTH, "height": height})
        visit.locator("#frame").evaluate(f"e => {{ e.value = {FRAME}; e.dispatchEvent(new Event('input')); }}")
        visit.wait_for_timeout(SETTLING)  # the browser lays the bar out anew some time after the window has grown
        visit.screenshot(path=picture)
        chromium.close()
        server.shutdown()


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]))
