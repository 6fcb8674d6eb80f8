"""Makes requirements.lock: the exact versions of one installation, each with the sha256 of its file.

    python -m pip install --dry-run --ignore-installed --report report.json -r requirements.txt
    python script/lock.py report.json >requirements.lock

Run it in an environment like the one it is for: the files of another Python or processor have other checksums. With
``-c constraints.txt`` (from ``pip freeze``) the versions are those of an installation that was tested.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

HEADER = """\
# The versions that everything was tested with, for Python {python} on {system}: what requirements.txt names, and what
# that needs, each with the sha256 of the one file that pip may take. From any registry, nothing else is installed:
#
#     python -m pip install --require-hashes -r requirements.lock
#
# Made by script/lock.py, whose first lines say how; other Pythons and machines make their own.
"""


def lines(report: dict) -> list[str]:
    """The file's lines from pip's report of an installation.

    Raises:
        ValueError: a package without a checksum, say one from a folder.
    """
    made = []
    for entry in report["install"]:
        name, version = entry["metadata"]["name"].lower().replace("_", "-"), entry["metadata"]["version"]
        digest = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise ValueError(f"{name} {version}: the report has no sha256 of it")
        made.append(f"{name}=={version} \\\n    --hash=sha256:{digest}")
    return sorted(made)


def main(path: str) -> None:
    """Print the file."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    python = ".".join(report["environment"]["python_full_version"].split(".")[:2])
    system = f"{platform.system()} {report['environment']['platform_machine']}"
    print(HEADER.format(python=python, system=system), end="")
    print(*lines(report), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
