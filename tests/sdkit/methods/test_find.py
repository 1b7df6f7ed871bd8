from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from sdkit import methods
from sdkit.methods.base import Method
from sdkit.runtime.errors import ConfigError
from tests.rival import Rival

Register = Callable[..., None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Return a function that registers entry points as other packages do."""

    def register(**values: str) -> None:
        points = [EntryPoint(name, value, methods.GROUP) for name, value in values.items()]
        monkeypatch.setattr("sdkit.methods.entry_points", lambda group: points if group == methods.GROUP else [])

    return register


def test_the_default_is_there() -> None:
    assert methods.DEFAULT in methods.names()
    assert not set(methods.SHARED) & set(methods.names())


@pytest.mark.parametrize("name", methods.names())
def test_every_name_is_a_method_of_this_name(name: str) -> None:
    found = methods.find(name)
    assert issubclass(found, Method)
    assert found.name == name
    for text in (found.title, found.reference):
        assert text
        assert "\n" not in text
    assert len({term.name for term in found.terms}) == len(found.terms) > 0


def test_unknown_names_are_told_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"^unknown method 'dbes' \(did you mean 'dbse'\?\); there are: .*dbse"):
        methods.find("dbes")
    with pytest.raises(ConfigError, match=r"^unknown method 'base'.*; there are: "):
        methods.find("base")
    with pytest.raises(ConfigError, match=r"^unknown method ''; there are: "):
        methods.find("")


def test_another_package_may_register_a_method(register: Register) -> None:
    register(rival="tests.rival:Rival")
    assert methods.find("rival") is Rival
    assert methods.names()[-1] == "rival"
    with pytest.raises(ConfigError, match=r"did you mean 'rival'\?"):
        methods.find("rivl")


def test_a_method_of_sdkit_is_not_replaced(register: Register) -> None:
    register(dbse="tests.rival:Rival")
    assert methods.find("dbse") is not Rival
    assert methods.names().count("dbse") == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tests.rival:SplitSettings", "'broken' is no subclass of sdkit.methods.base.Method; mend the package"),
        ("tests.rival:NO_PRIOR", "'broken' is no subclass of"),
        ("tests.rival:Nothing", r"'broken' \(tests\.rival:Nothing\) cannot be imported: .*Nothing"),
        ("tests.nowhere:Rival", r"'broken' \(tests\.nowhere:Rival\) cannot be imported: No module named"),
    ],
)
def test_what_is_registered_and_no_method(register: Register, value: str, words: str) -> None:
    register(broken=value)
    with pytest.raises(ConfigError, match=words) as caught:
        methods.find("broken")
    assert "\n" not in str(caught.value)
