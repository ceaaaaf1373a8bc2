"""Archives that the trust tests make, and the smallest page network."""

from __future__ import annotations

import io
import zipfile

PAGES = {
    "edges.csv": b"id1,id2\n0,1\n",
    "target.csv": b"id,target\n0,10\n1,20\n",
    "features.json": b'{"0": [1], "1": []}',
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def pages(**changed: bytes) -> dict[str, bytes]:
    """Members of the archive of a page network; ``edges_csv=...`` for another content."""
    members = PAGES | {name.replace("_", "."): content for name, content in changed.items()}
    return {f"wikipedia/chameleon/musae_chameleon_{k}": v for k, v in members.items()}
