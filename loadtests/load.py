"""`make load`: the locustfile beside this, against a real `pdp serve` on localhost.

What follows `--` is Locust's: `python -m loadtests.load -- -u 50 -t 60s`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from docs.demo.scene import ROOT, Scene, StageError

LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
DEFAULTS = ("-u", "20", "-r", "20", "-t", "15s")


def main() -> None:
    """Entry point; the exit code is Locust's."""
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else DEFAULTS
    with tempfile.TemporaryDirectory(prefix="portcullis-load-") as folder:
        scene = Scene(Path(folder))
        try:
            scene.issue_certificates()
            scene.publish_first()
            with scene.serving(scene.repository) as server:
                code = subprocess.call(
                    [
                        *(sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless"),
                        *("--only-summary", "--pdp-target", f"localhost:{server.port}"),
                        *("--pdp-trust-bundle", scene.certificates / "ca.pem"),
                        *("--pdp-certificate", scene.certificates / "caller.pem"),
                        *("--pdp-key", scene.certificates / "caller.key"),
                        *arguments,
                    ],
                    cwd=folder,
                )
        except StageError as error:
            sys.exit(f"load: {error}")
    sys.exit(code)


if __name__ == "__main__":
    main()
