import inspect

import pytest

from sdkit.runtime import errors
from sdkit.runtime.errors import SdkitError

BUILTINS: dict[str, type[Exception]] = {
    "ConfigError": ValueError,
    "CapabilityError": ValueError,
    "DivergenceError": ValueError,
    "DataError": ValueError,
    "FileFormatError": ValueError,
    "MissingFileError": FileNotFoundError,
    "OutputExistsError": FileExistsError,
    "WriteError": OSError,
    "BusyError": ValueError,
    "MissingExtraError": ImportError,
    "DeviceError": RuntimeError,
    "BundleError": ValueError,
    "ManifestError": ValueError,
    "BundleVersionError": ValueError,
    "BundlePathError": ValueError,
    "BundleFileError": FileNotFoundError,
    "DigestError": ValueError,
    "ParityError": ArithmeticError,
}
OURS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, SdkitError) and kind is not SdkitError
}


def test_every_class_is_listed_here() -> None:
    assert set(OURS) == set(BUILTINS)


@pytest.mark.parametrize("name", BUILTINS)
def test_every_error_is_also_the_builtin_one_and_keeps_its_message(name: str) -> None:
    with pytest.raises(BUILTINS[name]) as caught:
        raise OURS[name]("what is wrong, and what to do")
    assert isinstance(caught.value, SdkitError)
    assert str(caught.value) == "what is wrong, and what to do"


@pytest.mark.parametrize("name", ["ManifestError", "BundleVersionError", "BundlePathError", "BundleFileError"])
def test_every_fault_of_a_bundle_is_a_bundle_error(name: str) -> None:
    assert issubclass(OURS[name], errors.BundleError)
    assert issubclass(errors.DigestError, errors.BundleError)


def test_a_verb_that_there_is_not_is_an_error_of_what_was_asked_for() -> None:
    assert issubclass(errors.CapabilityError, errors.ConfigError)


def test_a_wrong_file_is_wrong_data() -> None:
    assert issubclass(errors.FileFormatError, errors.DataError)
