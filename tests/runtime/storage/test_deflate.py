"""The two libraries that write and read gzip chunks are one format."""

import importlib.util
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

from sdkit.runtime.storage import deflate


def loaded() -> ModuleType:
    """Return the module as it is loaded anew, under no name."""
    spec = importlib.util.find_spec("sdkit.runtime.storage.deflate")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module as it is where ISA-L is not installed."""
    monkeypatch.setitem(sys.modules, "isal", None)
    return loaded()


def arrays() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [b"", b"a", bytes(100_000), rng.bytes(100_000), np.repeat(rng.integers(0, 9, 999, np.uint8), 99).tobytes()]


def test_both_read_what_either_writes(plain: ModuleType) -> None:
    assert (deflate.LIBRARY, plain.LIBRARY) == ("isal", "zlib")
    for data in arrays():
        for writer in (deflate, plain):
            raw = writer.compress(data)
            assert zlib.decompress(raw) == data
            for reader in (deflate, plain):
                assert reader.decompress(raw, len(data)) == data


@pytest.mark.parametrize("spoilt", [b"no stream at all", zlib.compress(bytes(1000))[:-5]])
def test_bytes_that_are_no_stream(plain: ModuleType, spoilt: bytes) -> None:
    for reader in (deflate, plain):
        with pytest.raises((ValueError, *reader.ERRORS)):
            reader.decompress(spoilt, 1000)


def test_bytes_do_not_depend_on_the_thread() -> None:
    # Compressed bytes depend on nothing but the data, or a resumed file would not end in the same bytes.
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(deflate.compress, arrays()[3:4] * 8))) == 1
