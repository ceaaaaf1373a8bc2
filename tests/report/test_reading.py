"""The judgements of a reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coursework import settings
from coursework.report import reading, store


def test_no_file_no_judgement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path / "results")
    assert reading.judgements("anything") == {}


def test_kinds_are_turned_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path / "results")
    (tmp_path / "reading").mkdir()
    kinds = {"what": "...", "kinds": {"idiom": [3, 1], "rare word": [2]}}
    (tmp_path / "reading" / "x.json").write_text(json.dumps(kinds))
    assert reading.judgements("x") == {"3": "idiom", "1": "idiom", "2": "rare word"}


def test_what_was_read_are_translations_that_were_recorded() -> None:
    read = reading.judgements("translation_errors")
    rows = store.read("translation_all-full")["notes"]["translations"]["rows"]
    assert len(read) == 40
    assert set(map(int, read)) <= set(rows)
