import time
from typing import Any


def until(browser: Any, script: str, seconds: float) -> Any:
    """The value of a JavaScript expression as soon as it is true; None if it does not come to be."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := browser.execute_script(f"return {script}"):
                return value
        except Exception:
            pass
        time.sleep(0.25)
    return None
