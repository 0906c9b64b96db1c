"""Runs other libraries in their own pinned virtual environment, outside the project's.

The environment lives in the temporary directory and is made once; where it cannot be made (no package index, no
wheel), the reason is returned and the caller's table says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
_INSTALL_SECONDS, _RUN_SECONDS = 300, 600


class PeerUnavailable(RuntimeError):
    """A library could not be installed or did not run; the message is the reason to print."""


@dataclass(frozen=True)
class Peers:
    """Pinned requirements that share one environment."""

    requirements: tuple[str, ...]

    def run(self, script: str, data: Path) -> dict[str, float]:
        """Run `script` with the path of `data` as its argument; it prints one JSON object."""
        python = self._python()
        try:
            result = subprocess.run(
                [str(python), "-W", "ignore", "-c", script, str(data)],
                capture_output=True,
                text=True,
                check=False,
                timeout=_RUN_SECONDS,
                env={**os.environ, **ONE_THREAD},
            )
        except subprocess.TimeoutExpired as error:
            raise PeerUnavailable(f"no answer in {_RUN_SECONDS} s") from error
        if result.returncode:
            raise PeerUnavailable((result.stderr.strip().splitlines() or ["failed"])[-1][:120])
        return json.loads(result.stdout.strip().splitlines()[-1])

    def _python(self) -> Path:
        name = hashlib.sha256("\n".join((sys.version, *self.requirements)).encode()).hexdigest()[:12]
        home = Path(tempfile.gettempdir()) / f"flowlake-bench-{os.getuid()}" / name
        python, done = home / "bin" / "python", home / "installed"
        if done.exists():
            return python
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "-q", *self.requirements],
                check=True,
                capture_output=True,
                text=True,
                timeout=_INSTALL_SECONDS,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            last = reason.strip().splitlines()[-1] if isinstance(reason, str) and reason.strip() else "pip failed"
            raise PeerUnavailable(f"cannot install {', '.join(self.requirements)}: {last[:100]}") from error
        done.touch()
        return python
