"""The `flagmw` command: `check` finds every mistake in flag files, `eval` shows what a flag gives a user and why.

Both read files exactly as `FlagFile` does and leave the judging to the flagd dialect; `status` is `cli_status`'s, `usage`
is `cli_usage`'s. Needs click, and takes rich for colours on a terminal; both are imported when a command runs, so importing
this module needs neither.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from flagmw import __version__, cli_status, cli_usage
from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.evaluating import evaluate
from flagmw.core.parsing import parse
from flagmw.core.snapshot import Snapshot, evaluation_of
from flagmw.dialects.flagd import FlagdDialect, check, explain
from flagmw.dialects.flagd.explaining import Explanation, explained
from flagmw.dialects.flagd.fractional import Fractional
from flagmw.errors import ConfigError, ContextError, DocumentError, FlagmwError, Problem
from flagmw.evaluation import ErrorCode, Evaluation, Reason
from flagmw.providers import FlagFile
from flagmw.transports import Delivery

if TYPE_CHECKING:
    import click

MISSING = "the flagmw command needs click: pip install 'flagmw[cli]'"
MAX_SHOWN_CHARS = 100
"""A rule's JSON is cut to this, so that a step stays one line that can be read."""

STYLES = {
    "error": "bold red", "flag": "bold red", "warning": "yellow", "fine": "green", "dim": "dim", "name": "bold",
    "never": "bold red", "old": "yellow", "aging": "cyan", "recent": "green",
}  # fmt: skip

Segment = tuple[str, str]
"""A text and the name of its style, "" for none."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave the process.

    Args:
        arguments: None takes those of the process.

    Raises:
        SystemExit: always: 0 when all is well, 1 when files or the flag are not, 2 for a wrong use.
    """
    try:
        group = _group()
    except ImportError:
        sys.stderr.write(MISSING + "\n")
        sys.exit(2)
    group.main(args=None if arguments is None else list(arguments), prog_name="flagmw")


def _group() -> click.Group:
    """Put the commands together.

    Raises:
        ImportError: click is not installed.
    """
    import click

    hashing = click.Option(
        ["--fractional"],
        type=click.Choice(["v2", "v3"]),
        default="v2",
        show_default=True,
        help="How percentage rollouts hash: as flagd does today, or as announced.",
    )
    checking = click.Command(
        "check",
        params=[click.Argument(["paths"], nargs=-1, required=True, metavar="PATH..."), hashing],
        callback=_run_check,
        help="Show every mistake in flag files; a directory stands for its *.json, *.yaml and *.yml. "
        "Exits with 1 when there is an error, with 0 when there are only warnings.",
    )
    evaluating = click.Command(
        "eval",
        params=[
            click.Argument(["path"]),
            click.Argument(["key"]),
            click.Argument(["extra"], nargs=-1, metavar=""),
            click.Option(
                ["--user"],
                default="{}",
                metavar="JSON",
                help='For whom, for example \'{"key": "ada", "plan": "pro"}\'.',
            ),
            hashing,
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object instead of text."),
        ],
        callback=_run_eval,
        help="Show what the flag KEY in PATH (a flag file, or a directory of them) gives a user, and which rule "
        "decided. Exits with 1 when the flag is unknown or broken.",
    )
    commands = [checking, evaluating, cli_status.command(_Output), cli_usage.command(_Output)]
    group = click.Group("flagmw", commands=commands, help="Work with flag files, and look at processes and code.")
    return click.version_option(__version__, prog_name="flagmw", message="%(prog)s %(version)s")(group)


# --- check --------------------------------------------------------------------------------------------------


def _run_check(paths: tuple[str, ...], fractional: Fractional) -> None:
    output = _Output()
    flags = files = 0
    found: list[Problem] = []
    for path in paths:
        for document, failure in _documents(path):
            files += 1
            problems = [failure] if failure is not None else _problems(document, fractional)
            if not problems:
                flags += len(parse(document)["flags"])
            for problem in problems:
                output.line(*_problem_line(document.name, problem))
            found.extend(problems)
    if not found:
        output.line(
            (f"{_count(flags, 'flag')} in {_count(files, 'file')} {'is' if flags == 1 else 'are'} fine", "fine")
        )
        return
    warnings = sum(problem.severity == "warning" for problem in found)
    errors = len(found) - warnings
    parts = [_count(number, word) for number, word in ((errors, "error"), (warnings, "warning")) if number]
    _Output(to_stderr=True).line((" and ".join(parts), "error" if errors else "warning"))
    sys.exit(1 if errors else 0)


def _problems(document: Document, fractional: Fractional) -> Sequence[Problem]:
    try:
        return check(document, fractional)
    except DocumentError as error:
        return error.problems
    except ConfigError as error:  # YAML without PyYAML
        return [Problem(message=str(error).removeprefix(document.name).strip())]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _problem_line(name: str, problem: Problem) -> list[Segment]:
    where = f"{name}:{problem.line}:{problem.column}" if problem.line else name
    return [(f"{where}: ", "name"), (f"{problem.severity}: ", problem.severity), (str(problem), "")]


# --- reading files ------------------------------------------------------------------------------------------


class _Inbox:
    """Takes what a source brings."""

    snapshot = None
    delivery = Delivery()

    def deliver(self, delivery: Delivery) -> bool:
        self.delivery = delivery
        return True

    def dump(self) -> None:
        return None


def _documents(path: str) -> Iterator[tuple[Document, Problem | None]]:
    """Read a flag file, or all of a directory, as a client does; what cannot be read comes with a problem.

    Documents are named as the caller names them, not absolutely.
    """
    try:
        provider = FlagFile(path)
    except ConfigError as error:
        yield Document(name=path, content=b""), Problem(message=_without_name(str(error), path))
        return
    full = str(provider.paths[0])
    inbox = _Inbox()
    provider.source().open(inbox)
    delivery = inbox.delivery
    for document in delivery.documents:
        yield replace(document, name=_as_called(document.name, full, path)), None
    if delivery.kept == [full] or not (delivery.documents or delivery.kept):
        yield Document(name=path, content=b""), Problem(message=_without_name(str(delivery.error), full))
        return
    for name in delivery.kept:
        yield from _documents(_as_called(name, full, path))


def _as_called(name: str, full: str, path: str) -> str:
    return path if name == full else os.path.join(path, os.path.relpath(name, full))


def _without_name(message: str, name: str) -> str:
    return message.removeprefix(name).removeprefix(": ")


# --- eval ---------------------------------------------------------------------------------------------------


def _run_eval(path: str, key: str, extra: tuple[str, ...], user: str, fractional: Fractional, *, as_json: bool) -> None:
    import click

    if extra:  # most often a shell that split the user's JSON; click would print what it holds
        raise click.UsageError(f"{_count(len(extra), 'unexpected argument')}; put quotes around the JSON after --user")
    try:
        context = _user(user)
    except ContextError as error:
        raise click.BadParameter(str(error), param_hint="'--user'") from None
    now = time.time()
    errors = _Output(to_stderr=True)
    documents = _good_documents(path, errors)
    snapshot, refused = _compiled(path, documents, FlagdDialect(fractional=fractional, wall_clock=lambda: now), errors)
    if snapshot is None:
        sys.exit(1)
    holders = [document for document in documents if document.name not in refused and key in parse(document)["flags"]]
    if not holders:
        errors.line((f"{path}: ", "name"), ("error: ", "error"), (_unknown(key, snapshot), ""))
        sys.exit(1)
    evaluation = evaluation_of(evaluate(snapshot, key, context), key, None, snapshot)
    explanation = explained(holders[-1], evaluation, explain(holders[-1], key, fractional, context, now))
    if as_json:
        click.echo(json.dumps(_as_json(holders[-1].name, evaluation, explanation)))
    else:
        _show(_Output(), holders[-1].name, evaluation, explanation)
        if evaluation.error_code is ErrorCode.PARSE_ERROR:
            for problem in _problems(holders[-1], fractional):
                if str(problem) == evaluation.error_message:
                    _Output().line(*_problem_line(holders[-1].name, problem))
    sys.exit(1 if evaluation.reason is Reason.ERROR else 0)


def _user(text: str) -> UserContext:
    """Read the user from the command line.

    Raises:
        ContextError: no JSON, no object, or a value that a context does not take; shows none of it.
    """
    try:
        user = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"{error.msg[0].lower()}{error.msg[1:]} at column {error.colno}"
        raise ContextError(
            f'is not JSON: {problem}; quote it for the shell, for example \'{{"key": "ada"}}\''
        ) from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; thousands of brackets
        raise ContextError("has a number or a nesting that is too long") from None
    if not isinstance(user, dict):
        raise ContextError('must be a JSON object, for example \'{"key": "ada"}\'')
    return UserContext.of(user)


def _good_documents(path: str, errors: _Output) -> list[Document]:
    documents = []
    for document, failure in _documents(path):
        if failure is None:
            documents.append(document)
        else:
            errors.line(*_problem_line(document.name, failure))
    if not documents:
        sys.exit(1)
    return documents


def _compiled(
    path: str, documents: Sequence[Document], dialect: FlagdDialect, errors: _Output
) -> tuple[Snapshot | None, set[str]]:
    """Compile the documents as a client that starts now does; give the names of those that are refused."""
    failures: Sequence[FlagmwError]
    try:
        compilation = dialect.compile(documents, (), None)
    except ConfigError as error:  # YAML without PyYAML
        snapshot, failures = None, [error]
    else:
        snapshot, failures = compilation.snapshot, compilation.errors
    refused = set()
    for failure in failures:
        if isinstance(failure, DocumentError):
            refused.add(failure.name)
            for problem in failure.problems:
                errors.line(*_problem_line(failure.name, problem))
        else:
            errors.line(*_problem_line(path, Problem(message=_without_name(str(failure), path))))
    return snapshot, refused


def _unknown(key: str, snapshot: Snapshot) -> str:
    if not snapshot.flags:
        return f"no flag {key!r}, and no other either"
    close = get_close_matches(key, snapshot.flags, n=1, cutoff=0.5)
    if close:
        return f"no flag {key!r}; did you mean {close[0]!r}?"
    known = sorted(snapshot.flags)
    return f"no flag {key!r}; there are {_shortened(', '.join(known))}"


# --- showing ------------------------------------------------------------------------------------------------


def _show(output: _Output, name: str, evaluation: Evaluation, explanation: Explanation) -> None:
    is_default = evaluation.variation is None
    rows = [
        ("flag", evaluation.flag_key, "name"),
        ("value", "the caller's default" if is_default else _json(evaluation.value), "name"),
        ("variation", "none" if is_default else str(evaluation.variation), ""),
        ("reason", evaluation.reason, "error" if evaluation.error_code else ""),
    ]
    if evaluation.error_code is not None:
        rows.append(("error", f"{evaluation.error_code}: {evaluation.error_message}", "error"))
    rows += [("file", name, ""), ("why", explanation.verdict, "")]
    for label, text, style in rows:
        output.line((f"{label:<10} ", "dim"), (text, style))
    for number, step in enumerate(explanation.steps, start=1):
        held = ("held", "fine") if step.held else ("did not hold", "dim")
        output.line((f"{step.place}: ", "dim"), (f"condition {number}: ", ""), held, (f": {_json(step.part)}", ""))
    if explanation.result is not None:
        output.line(
            (f"{explanation.result.place}: ", "dim"), ("result: ", ""), (_json(explanation.result.part), "name")
        )


def _as_json(name: str, evaluation: Evaluation, explanation: Explanation) -> dict[str, Any]:
    return {
        "flag_key": evaluation.flag_key,
        "value": evaluation.value,
        "uses_default": evaluation.variation is None,
        "variation": evaluation.variation,
        "reason": evaluation.reason,
        "error_code": evaluation.error_code,
        "error_message": evaluation.error_message,
        "revision": evaluation.revision,
        "metadata": dict(evaluation.metadata),
        "file": name,
        "conditions": [
            {"place": step.place, "path": step.path, "condition": step.part, "held": step.held}
            for step in explanation.steps
        ],
        "result": None
        if explanation.result is None
        else {
            "place": explanation.result.place,
            "path": explanation.result.path,
            "rule": explanation.result.part,
        },
        "explanation": explanation.verdict,
    }


def _json(value: Any) -> str:
    return _shortened(json.dumps(value, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


class _Output:
    """Prints lines: in colours on a terminal, as plain text everywhere else."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._to_stderr = to_stderr
        self._stream = sys.stderr if to_stderr else sys.stdout
        self.is_terminal = self._stream.isatty()

    def line(self, *segments: Segment) -> None:
        shown = [(_printable(text), style) for text, style in segments]
        if self.is_terminal:
            try:
                from rich.console import Console
                from rich.text import Text
            except ImportError:
                pass
            else:
                text = Text.assemble(*((text, STYLES.get(style, "")) for text, style in shown))
                Console(file=self._stream, highlight=False).print(text, soft_wrap=True)
                return
        plain = "".join(text for text, _ in shown)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(plain.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _printable(text: str) -> str:
    """Escape what would break a line or steer a terminal: files may come from anywhere."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
