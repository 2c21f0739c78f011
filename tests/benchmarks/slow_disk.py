"""
`receiver bench` on a disk that takes its time.

    .venv/bin/python -m tests.benchmarks.slow_disk 5 intake --connections 256

So many milliseconds are added to each fsync (`slow_sync.c`, made with gcc); what follows
is given to `receiver bench`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    sync_ms, *arguments = sys.argv[1:] or sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "slow_sync.so"
        source = Path(__file__).with_name("slow_sync.c")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"],
            check=True,
        )
        slow = {
            "LD_PRELOAD": str(library),
            "SLOW_SYNC_US": str(round(float(sync_ms) * 1000)),
        }
        command = [sys.executable, "-m", "receiver", "bench", *arguments]
        done = subprocess.run(command, check=False, env={**os.environ, **slow})
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
