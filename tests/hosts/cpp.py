"""Building and running the C++ host."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import onnxruntime

SOURCES = Path(__file__).parents[2] / "examples" / "cpp"
LIBRARY = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
ENVIRONMENT = {**os.environ, "SDKIT_ONNXRUNTIME": str(LIBRARY)}
Reason = str | None


def build(sources: Path, folder: Path, *options: str, kind: str = "Debug") -> Reason:
    """Build the programs of a CMake project, and return why that cannot be done here; a failing compiler fails."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        return "no cmake or no C++ compiler"
    # Warnings are errors where nothing is inlined: of inlined strings GCC 12 warns by mistake (its bug 105651).
    werror = "ON" if kind == "Debug" else "OFF"
    configure = [
        "cmake",
        "-S",
        str(sources),
        "-B",
        str(folder),
        f"-DSDKIT_WERROR={werror}",
        f"-DCMAKE_BUILD_TYPE={kind}",
    ]
    found = subprocess.run([*configure, *options], capture_output=True, text=True, check=False)
    if found.returncode != 0 and "Could NOT find" in found.stderr + found.stdout:
        return f"a library is missing: {found.stderr.strip().splitlines()[-1]}"
    if found.returncode != 0 and "Could not find a package" in found.stderr:
        return "a library is missing: nlohmann-json3-dev and libhdf5-dev are needed"
    assert found.returncode == 0, found.stderr
    made = subprocess.run(["cmake", "--build", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return None


def run(*command: object, env: Mapping[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    """Run a program, and return what it said."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=dict(env), check=False)
