"""What tests of the JavaScript host need and may lack: node, onnxruntime-web, a browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "examples" / "web"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OLDEST_NODE = 20


def engine() -> Path:
    """Return the npm package onnxruntime-web, or skip the test that asks for it."""
    given = os.environ.get("SDKIT_ONNXRUNTIME_WEB")
    place = Path(given) if given else SOURCES / "node_modules" / "onnxruntime-web"
    if not (place / "dist").is_dir():
        pytest.skip(f"no onnxruntime-web in {place}: npm install in examples/web, or set SDKIT_ONNXRUNTIME_WEB")
    return place.resolve()


def node() -> str:
    """Return the program node, or skip the test that asks for it."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version} is older than {OLDEST_NODE}")
    return found


def browser() -> str:
    """Return a browser that Playwright can drive, or skip the test that asks for it."""
    given = os.environ.get("SDKIT_CHROMIUM")
    found = given or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and SDKIT_CHROMIUM is not set")
    return found
