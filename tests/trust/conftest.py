import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from given import HERE, environment

sys.path.insert(0, str(HERE.parent / "data"))  # local_server
_data = runpy.run_path(str(HERE.parent / "data" / "conftest.py"))
server, online, dataset = (_data[name] for name in ("server", "online", "dataset"))

Answers = list[dict[str, Any]]


@pytest.fixture
def work() -> Callable[..., Answers]:
    def call(tasks: list[dict[str, Any]], **options: Any) -> Answers:
        done = subprocess.run(
            [sys.executable, str(HERE / "worker.py"), json.dumps(tasks)],
            capture_output=True,
            text=True,
            env=environment(**options),
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(answers) == len(tasks), done.stdout[-3000:]
        for answer in answers:
            assert "error" not in answer, answer["error"]
        return answers

    return call
