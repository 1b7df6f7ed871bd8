"""Description of every method, as plain values for a table or JSON."""

from typing import Any

from sdkit import methods
from sdkit.runtime.contract import VERBS


def describe(name: str | None = None) -> list[dict[str, Any]]:
    """Return name, title, reference, variants, settings, verbs and refusals of a method, or of all.

    Verbs and refusals are those of the first variant; a verb that other variants refuse is named with them.

    Raises:
        ConfigError: no method of this name.

    >>> describe("dsvae")[0]["variants"]
    ['full', 'factorised']
    """
    return [_about(one) for one in ([name] if name else methods.names())]


def _about(name: str) -> dict[str, Any]:
    method = methods.find(name)
    refused: dict[str, dict[str, str]] = {}
    for variant in method.variants or {"": {}}:
        for verb, reason in method.refusals(method.Settings(**method.variants.get(variant, {}))).items():
            refused.setdefault(verb, {})[variant] = reason
    everywhere = {verb for verb, found in refused.items() if len(found) == max(1, len(method.variants))}
    return {
        "name": name,
        "title": method.title,
        "reference": method.reference,
        "variants": list(method.variants),
        "settings": list(method.Settings.__struct_fields__),
        "verbs": [verb for verb in VERBS if verb not in everywhere],
        "refusals": {
            verb if verb in everywhere else f"{verb} ({', '.join(found)})": next(iter(found.values()))
            for verb, found in refused.items()
        },
    }
