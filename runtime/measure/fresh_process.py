"""Measurements that need a process of their own: the first use of a bundle, and the memory of a file verb.

python -m sdkit.runtime.measure.fresh_process TASK ARGUMENTS      prints JSON; TASK is start or verb, ARGUMENTS is JSON
"""

import time

BEGAN = time.monotonic()

import json  # noqa: E402  what is imported from here on is part of what is measured
import subprocess  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from sdkit.runtime.errors import SdkitError  # noqa: E402

HEAVY = ("torch", "onnx", "matplotlib")
"""Packages that no ONNX graph needs."""


def in_fresh_process(task: str, **arguments: Any) -> dict[str, Any]:
    """Return the result of a task that runs in a new process.

    Args:
        task: `start` or `verb`, a function of this module.
        arguments: keywords of the function, plain values for JSON.

    Raises:
        SdkitError: the process failed; its last line says why.
    """
    command = [sys.executable, "-m", "sdkit.runtime.measure.fresh_process", task, json.dumps(arguments)]
    if task == "start":
        command[-1] = json.dumps({**arguments, "spawned": time.monotonic()})
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = (result.stderr.strip().splitlines() or [f"it ended with {result.returncode}"])[-1]
        raise SdkitError(f"the process that measures '{task}' failed: {tail}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def start(bundle: str, opening: dict[str, Any], spawned: float) -> dict[str, Any]:
    """Use a bundle for the first time.

    Args:
        bundle: path of the bundle.
        opening: keywords of `Runtime.open`.
        spawned: time at which this process was started, by time.monotonic, which all processes share.

    Returns:
        Seconds of `interpreter` (until the first line of ours), `import_runtime`, `open_bundle`, `first_encode` (of one
        sequence) and `total` (all but the interpreter); `loaded`: packages that were loaded without need.
    """
    from sdkit.runtime.runtime import Runtime

    imported = time.monotonic()
    rt = Runtime.open(bundle, **opening)
    opened = time.monotonic()
    import numpy as np

    rt.encode(np.zeros((1, rt.manifest.steps, *rt.element.shape), rt.element.dtype))
    encoded = time.monotonic()
    return {
        "interpreter": BEGAN - spawned,
        "import_runtime": imported - BEGAN,
        "open_bundle": opened - imported,
        "first_encode": encoded - opened,
        "total": encoded - BEGAN,
        "loaded": [name for name in HEAVY if name in sys.modules],
    }


def verb(bundle: str, opening: dict[str, Any], name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a file verb.

    Args:
        bundle: path of the bundle.
        opening: keywords of `Runtime.open`.
        name: `encode`, `swap`, `generate`, ...
        arguments: keywords of the verb.

    Returns:
        `seconds` of the verb; peak MiB of RAM of the process: `opened`, once the graphs were open, and
        `peak`, at the end.
    """
    from sdkit.runtime.measure.machine import peak_memory
    from sdkit.runtime.runtime import Runtime

    rt = Runtime.open(bundle, **opening)
    opened = peak_memory()
    began = time.monotonic()
    getattr(rt, f"{name}_file")(**arguments)
    return {"seconds": time.monotonic() - began, "opened": opened, "peak": peak_memory()}


def main(task: str, arguments: str) -> int:
    """Run a task and print its result."""
    try:
        found = (start if task == "start" else verb)(**json.loads(arguments))
    except (SdkitError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
