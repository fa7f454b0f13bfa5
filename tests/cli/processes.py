"""Commands in a process of their own, as a user runs them."""

import os
import subprocess
import sys


SCRIPT = (
    "import sys; sys.argv[0] = 'everwillow'; from everwillow.cli import main; main()"
)


def process(tmp_path, *arguments, script=SCRIPT, **more):
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "COLUMNS": "80",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        **more,
    )
