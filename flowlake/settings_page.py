"""`docs/settings.md`, made from the settings themselves: `python -m flowlake.settings_page > docs/settings.md`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowlake.settings import Settings

_HEAD = """# Settings

Read from the environment first, then from `.env`, then from the demo's `data/sandbox.env`.
Made by `python -m flowlake.settings_page`; a test holds it equal to the code.
"""


def settings_page() -> str:
    """Every setting as Markdown: a table per section with variable, default and meaning."""
    return "\n".join([_HEAD, *_section("General", Settings, "FLOWLAKE_")]) + "\n"


def _section(title: str, model: type[BaseModel], prefix: str) -> Iterator[str]:
    nested: list[tuple[str, type[BaseModel], str]] = []
    yield f"## {title}\n"
    yield f"{(model.__doc__ or '').strip()}\n"
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            nested.append((name.replace("_", " ").capitalize(), inner, f"{prefix}{name.upper()}__"))
        else:
            yield f"| {_variables(name, info, prefix)} | {_default(info)} | {info.description} |"
    yield ""
    for section in nested:
        yield from _section(*section)


def _variables(name: str, info: FieldInfo, prefix: str) -> str:
    alias = info.validation_alias
    names = getattr(alias, "choices", None) or [f"{prefix}{name.upper()}"]
    return ", ".join(f"`{variable}`" for variable in names)


def _default(info: FieldInfo) -> str:
    return "" if info.default is None else f"`{info.default}`"


if __name__ == "__main__":
    print(settings_page(), end="")
