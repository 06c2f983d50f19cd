"""YAML without what makes it grow or hide something: aliases, tags of its own, a key twice, endless depth."""

from typing import Any

import yaml

DEEPEST = 20
"""Levels that a text may have."""


def loaded(text: str) -> Any:
    """What it says. Raises `ValueError` that says what is wrong and where, without the text around it."""
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "a date or number in it does not exist"
        raise ValueError(f"{problem} (line {mark.line + 1})" if mark else str(problem)) from None


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stub has no types for it
        mark: Any = event.start_mark
        self.depth += 1
        if isinstance(event, yaml.AliasEvent) or self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="aliases and deep levels are refused", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(problem="a key is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
