"""Runs the code blocks of one documentation page, as a reader would in an empty folder.

Called by `test_docs` in a process of its own: `python docs_runner.py PAGE` with the folder as working directory. A block
under the comment `<!-- file: NAME -->` becomes that file. Other `python` blocks run in order in one namespace.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMANDS = {
    "cd",
    "celery",
    "daphne",
    "flagmw",
    "flask",
    "git",
    "gunicorn",
    "make",
    "pip",
    "pytest",
    "python",
    "uvicorn",
}
FINE_CODES = {0, 1, 3}
"""Of flagmw itself; 3 is what `flagmw status` gives where no process is."""
SHOWN_ONLY = {"html", "text", "django", "jinja", "ini"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    language: str
    code: str
    file: str | None
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Give the code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            language=match["language"],
            code=match["code"],
            file=match["file"],
            line=text[: match.start()].count("\n") + 1,
        )
        for match in BLOCK.finditer(text)
    ]
    fences = sum(line.startswith("```") for line in text.splitlines())
    assert fences == 2 * len(found), f"{page.name}: a code block is not closed, or is indented"
    return found


def check_shell(block: Block) -> None:
    """Check that a console block has commands that exist, and run those of flagmw itself."""
    for line in block.code.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.removeprefix("$ ").split()
        while words and "=" in words[0]:
            words.pop(0)
        assert words, f"line {block.line}: a setting and no command"
        assert words[0] in COMMANDS, f"line {block.line}: {words[0]} is no command of these pages"
        if words[0] == "flagmw":
            command = str(Path(sys.executable).parent / "flagmw") + line.removeprefix("$ ")[len("flagmw") :]
            done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode in FINE_CODES, f"line {block.line}: {line}\n{done.stdout}{done.stderr}"


def run(page: Path) -> int:
    """Run a page.

    Returns:
        How many blocks there were.
    """
    namespace: dict[str, Any] = {"__name__": "page"}
    blocks = blocks_of(page)
    for block in blocks:
        if block.file is not None:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
            if path.suffix == ".py":
                compile(block.code, block.file, "exec")
        elif block.language == "python":
            code = "\n" * block.line + block.code
            exec(compile(code, str(page), "exec"), namespace)  # running the page is the point
        elif block.language in {"console", "sh"}:
            check_shell(block)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "yaml":
            from flagmw.core.yaml_text import parse_yaml

            parse_yaml(f"{page.name}, line {block.line}", block.code)
        elif block.language == "toml":
            import tomllib

            tomllib.loads(block.code)
        else:
            assert block.language in SHOWN_ONLY, f"line {block.line}: nothing runs a block of {block.language!r}"
    return len(blocks)


if __name__ == "__main__":
    sys.path.insert(0, ".")
    print(run(Path(sys.argv[1])))
