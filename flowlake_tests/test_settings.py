"""Settings: one home, documented, and careful with the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlake.settings import Settings, get_settings
from flowlake.settings_page import settings_page

ROOT = Path(__file__).parents[1]


def test_the_documentation_lists_every_setting_as_it_is():
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_the_example_file_names_only_real_settings():
    page = settings_page()
    names = [line[2:].split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line]
    assert names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MASSIVE_API_KEY", "very-secret")
    settings = Settings()
    assert "very-secret" not in repr(settings) + settings.model_dump_json()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "very-secret"


def test_the_environment_wins_over_the_demos_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sandbox.env").write_text("FLOWLAKE_API__CONCURRENCY=3\nFLOWLAKE_API__REPLAY=true\n")
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FLOWLAKE_API__CONCURRENCY", "5")
    get_settings.cache_clear()
    try:
        assert get_settings().api.concurrency == 5
        assert get_settings().api.replay
    finally:
        get_settings.cache_clear()


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match="concurrency"):
        Settings(api={"concurrency": 0})  # pyright: ignore[reportArgumentType]
