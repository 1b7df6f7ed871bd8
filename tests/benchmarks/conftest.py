"""The files of the runtime's tests."""

from tests.runtime.conftest import write_sequences as write_sequences
