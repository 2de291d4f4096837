"""Scans a code base when asked, by our scanner or by the official agent's, in whose Python this runs too."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from benchmarks.usage_parts.inside import answer


def ours(folder: str, package: str) -> Callable[[], int]:
    """Give our scan; the same scanner each time, which reads what changed."""
    from flagmw.usage import UsageConfig
    from flagmw.usage.codebase import Scanner

    scanner = Scanner(UsageConfig(packages=(package,), codebase=(folder,)))
    return lambda: len(scanner.scan().functions)


def official(folder: str, package: str) -> Callable[[], int]:
    """Give the official agent's scan."""
    from scavenger.internal.scan import CodeBaseScanner

    return lambda: len(CodeBaseScanner([folder], [package], [], [], exclude_init=False).scan().functions)


def main() -> None:
    """Answer each question with a scan."""
    who, folder, package = sys.argv[1:]
    scan = {"ours": ours, "official": official}[who](folder, package)

    def scanned(_question: object) -> dict[str, float]:
        began = time.process_time()
        number = scan()
        return {"seconds": time.process_time() - began, "functions": number}

    answer(scanned)


if __name__ == "__main__":
    main()
