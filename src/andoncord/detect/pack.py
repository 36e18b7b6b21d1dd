"""The rules that come with Andoncord."""

from functools import cache
from importlib import resources

from andoncord.detect.rule import Rule, load_rules


@cache
def default_rules() -> tuple[Rule, ...]:
    """The packaged rules. Package data, read once.

    >>> "infinite-loop" in {rule.id for rule in default_rules()}
    True
    """
    folder = resources.files("andoncord").joinpath("rules")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return load_rules({f"rules/{file.name}": file.read_text(encoding="utf-8") for file in files})
