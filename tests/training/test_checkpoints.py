from pathlib import Path

import pytest
import torch

from coursework import files
from coursework.errors import TrainingError
from coursework.training import checkpoints

STATE = {"weights": torch.arange(1000.0), "words": ["a", "é"], "numbers": {"x": 1.5}}


def test_round_trip(tmp_path: Path) -> None:
    path = checkpoints.save(STATE, tmp_path / "folder" / "a.pt")
    torch.testing.assert_close(checkpoints.load(path)["weights"], STATE["weights"], atol=0, rtol=0)
    assert checkpoints.load(path)["words"] == STATE["words"]
    assert [item.name for item in path.parent.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("place", [0.2, 0.5, 0.7])
def test_a_flipped_bit_in_the_tensors_is_refused(tmp_path: Path, place: float) -> None:
    path = checkpoints.save(STATE, tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    start = content.find(STATE["weights"].numpy().tobytes()[:64])
    content[start + int(place * 4000)] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoints.load(path)


def test_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoints.save({"step": 1}, tmp_path / "a.pt")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(TrainingError, match="could not be written .*No space left"):
        checkpoints.save({"step": 2}, path)
    assert checkpoints.load(path)["step"] == 1
    assert [item.name for item in tmp_path.iterdir()] == ["a.pt"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="could not be written"):
        checkpoints.save({"step": 1}, tmp_path / "file" / "a.pt")
