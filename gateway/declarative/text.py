"""A document as the text of a file, YAML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import yaml

try:
    from yaml import CSafeDumper as _Dumper
except ImportError:  # PyYAML without libyaml: five times slower
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]

Format = Literal["yaml", "json"]

_NUMBER_ELSEWHERE = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+")
"""What YAML 1.2 takes for a number; YAML 1.1 takes some of it for text."""


def as_text(document: Mapping[str, Any], form: Format = "yaml") -> str:
    """Return the document as text, its keys in their order."""
    if form == "json":
        return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    return yaml.dump(document, Dumper=_YamlDumper, sort_keys=False, allow_unicode=True, width=100)


class _YamlDumper(_Dumper):
    """Writes texts of several lines as blocks, and repeats values rather than refer to them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Tell that no value is to become an anchor."""
        del data
        return True


def _text_node(dumper: Any, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _NUMBER_ELSEWHERE.fullmatch(value) else None
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
    return node


_YamlDumper.add_representer(str, _text_node)
