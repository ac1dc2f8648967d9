"""Print the hashed requirements of the image: the runtime lock without build tools, and our own wheel by its hash.

requirements.py LOCK [WHEEL]
"""

import hashlib
import re
import sys
from pathlib import Path

# Only the extra `build` asks for these; an image needs no build tools.
BUILD_ONLY = frozenset({"editables", "hatchling", "pathspec", "trove-classifiers"})
REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)(\[[a-z,]+\])?==", re.IGNORECASE)


def without_build_tools(lock: str) -> str:
    """The lock's lines, less the blocks of build tools; comments go too."""
    kept, keep = [], True
    for line in lock.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if match := REQUIREMENT.match(line):
            keep = match[1].lower() not in BUILD_ONLY
        if keep:
            kept.append(line)
    return "\n".join(kept)


def own_wheel(wheel: Path) -> str:
    """One requirement that only this wheel satisfies."""
    name, version = wheel.name.split("-")[:2]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}"


def main(arguments: list[str]) -> None:
    """Print to standard output."""
    lines = [without_build_tools(Path(arguments[0]).read_text())]
    lines += [own_wheel(Path(path)) for path in arguments[1:]]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
