"""Proof at export, in a separate process: a graph that crashes its runtime must not take the exporter along.

python -m sdkit.export.proof.prove BUNDLE RUN   prints the report as JSON; ends when its standard input does
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from sdkit.export.proof.parity import Report
from sdkit.runtime.errors import ParityError, SdkitError

USER_ERROR = 2


def prove(bundle: Path, run: Path) -> Report:
    """Verify a bundle against its run in a new process.

    Raises:
        ParityError: a result differs, or the process died or could not compare.
    """
    command = [sys.executable, "-W", "ignore", "-m", "sdkit.export.proof.prove", str(bundle), str(run)]
    # The other end of its input is closed when this process ends, however it ends, so that it does not stay behind.
    reading, writing = os.pipe()
    try:
        result = subprocess.run(command, stdin=reading, capture_output=True, text=True, check=False)
    finally:
        os.close(reading)
        os.close(writing)
    if result.returncode != 0:
        tail = (result.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        if result.returncode == USER_ERROR:
            raise ParityError(tail)
        died = f"was killed by signal {-result.returncode}" if result.returncode < 0 else "failed"
        raise ParityError(f"the process that compares the graphs {died}: {tail}")
    try:
        return msgspec.json.decode((result.stdout.splitlines() or [""])[-1], type=Report)
    except msgspec.MsgspecError as error:
        raise ParityError(f"the process that compares the graphs printed no report: {error}") from error


def main(bundle: str, run: str) -> int:
    """Compare and print the report."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    from sdkit.export.proof.check import check_onnx_files
    from sdkit.export.proof.verification import verify
    from sdkit.runtime.bundles.bundle import Bundle

    try:
        opened = Bundle.open(bundle)
        check_onnx_files(opened)
        # The exporter has just written what runs here.
        report = verify(bundle, run=run, backend="torchscript" if "torchscript" in opened.manifest.formats else "onnx")
        report.require()
    except SdkitError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    print(msgspec.json.encode(report).decode())
    return 0


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(USER_ERROR)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
