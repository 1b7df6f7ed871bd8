"""The tables of docs/bundle.md are those of the contract."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from sdkit.runtime.contract import GRAPHS, IN_PLACE_OF, MEANS, TENSORS, VERBS, WIDTHS, Axes

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text("utf-8")


def names(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def shape(axes: Axes) -> str:
    return f"({', '.join(map(str, axes))})"


def graphs() -> str:
    """Return the rows of the table of graphs."""
    return "\n".join(
        f"| `{name}` | {graph.about} | {names(graph.inputs)} | {names(graph.outputs)} | {names(graph.optional)} |"
        for name, graph in GRAPHS.items()
    )


def tensors() -> str:
    """Return the rows of the table of tensors."""
    rows = []
    for name, axes in TENSORS.items():
        others = [f"; {shape(graph.axes[name])} in `{of}`" for of, graph in GRAPHS.items() if name in graph.axes]
        rows.append(f"| `{name}` | {shape(axes)}{''.join(others)} |")
    return "\n".join(rows)


def verbs() -> str:
    """Return the rows of the table of verbs."""
    return "\n".join(f"| `{name}` | {verb.about} | {names(verb.graphs)} |" for name, verb in VERBS.items())


def widths() -> str:
    """Return the letters of the manifest's widths, in a sentence."""
    return ", ".join(f"{letter} `{field}`" for letter, field in WIDTHS.items())


def means() -> str:
    """Return the lines that give the pool its means."""
    return "\n".join(f"        pool gets {code} = {mean}, where it has no {code}" for mean, code in MEANS.items())


def replaced() -> str:
    """Return the rows of the table of graphs that no verb requires."""
    return "\n".join(f"| `{graph}` | {what} |" for graph, what in IN_PLACE_OF.items())


PARTS = {"GRAPHS": graphs, "TENSORS": tensors, "VERBS": verbs, "WIDTHS": widths, "MEANS": means, "IN_PLACE": replaced}


@pytest.mark.parametrize("part", PARTS)
def test_a_table_is_that_of_the_contract(part: str) -> None:
    expected = PARTS[part]()
    assert expected in PAGE, f"docs/bundle.md should hold\n{expected}"
    if "|" in expected:  # and no row more
        _, after = PAGE.split(expected)
        assert after.startswith("\n\n")
        assert PAGE[: PAGE.index(expected)].endswith("|---|\n")
