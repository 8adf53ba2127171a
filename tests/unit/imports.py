"""Which libraries a module loads: asked in a process of its own, since the tests load them all."""

import subprocess
import sys
from pathlib import Path

WORKFLOW = Path(__file__).parents[2] / "workflow"


def loaded(modules: str, *heavy: str) -> list[str]:
    """Those of `heavy` that are there after `import modules`."""
    code = f"import sys, {modules}; print(*sorted({set(heavy)} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(WORKFLOW)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
