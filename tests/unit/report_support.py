"""Makes what reports are made of: stored functions, flags, stores."""

from __future__ import annotations

from typing import Any

from flagmw.report.ages import DAY_S
from flagmw.report.flags import DeadFunction, Excerpt, FlagUse, Given, Lines, RemovalUse, Site, SourceLine
from flagmw.report.model import Report, build_report
from flagmw.usage.functions import Function, FunctionKind
from flagmw.usage.store import StoredApplication, StoredFunction, StoredUsage

NOW = 1_795_000_000.0


def function(place: str = "app.views:product", line: int = 1, last_line: int | None = None, **fields: Any) -> Function:
    """Make a function of its module, a colon, and its name with the classes around it."""
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    file = module.replace(".", "/") + ".py"
    return Function(
        package_name=module,
        declaring_type=".".join([module, *classes]),
        name=name,
        parameter_types=fields.pop("parameters", ""),
        kind=FunctionKind.DEF,
        path=f"/srv/{file}",
        shown_path=fields.pop("shown_path", file),
        first_line=line,
        last_line=line + 4 if last_line is None else last_line,
    )


def stored(
    place: str = "app.views:product", line: int = 1, *, ago_d: float | None = None, known_d: float = 60.0, **fields: Any
) -> StoredFunction:
    """Make a stored function that ran `ago_d` days ago, None for never, and is known for `known_d` days."""
    environment = fields.pop("environment", "prod")
    return StoredFunction(
        function=function(place, line, **fields),
        app_name="shop",
        environment=environment,
        first_seen_at=NOW - known_d * DAY_S,
        removed_at=None,
        first_invoked_at=None if ago_d is None else NOW - max(ago_d, known_d) * DAY_S,
        last_invoked_at=None if ago_d is None else NOW - ago_d * DAY_S,
        intervals=0 if ago_d is None else 1,
    )


def usage(*functions: StoredFunction) -> StoredUsage:
    """Make what a store of one application knows."""
    application = StoredApplication(
        app_name="shop",
        environment="prod",
        watched_since=NOW - 61 * DAY_S,
        published_at=NOW,
        processes=2,
        fingerprint="f",
    )
    return StoredUsage(
        functions=functions, applications=(application,), watched_since=application.watched_since, processes=2
    )


def stale_flag(key: str = "new-basket") -> FlagUse:
    """Make a stale flag with a dead branch of two lines and a dead function."""
    lines = ["if flags.is_enabled('new-basket'):", "    total = new()", "else:", "    total = old()"]
    return FlagUse(
        flag_key=key,
        verdict="stale",
        why="everybody had 'on' (true) for 30 days or longer",
        given=(Given(variation="on", reason="STATIC", count=12),),
        last_at=NOW - 60.0,
        sites=(Site(shown_path="app/views.py", line=7, how="is_enabled"),),
        variation="on",
        value="true",
        settled_at=NOW - 40 * DAY_S,
        removal=RemovalUse(
            lines=5,
            branches=(Lines(shown_path="app/views.py", first_line=9, last_line=10, why="the flag is on"),),
            deleted=(
                Lines(shown_path="app/views.py", first_line=9, last_line=10),
                Lines(shown_path="app/views.py", first_line=20, last_line=22),
            ),
            excerpts=(
                Excerpt(
                    shown_path="app/views.py",
                    lines=tuple(
                        SourceLine(number=7 + at, text=text, is_site=at == 0, is_dead=at >= 2)
                        for at, text in enumerate(lines)
                    ),
                ),
            ),
            functions=(
                DeadFunction(name="app.views.old()", shown_path="app/views.py", line=20, lines=3, last_invoked_at=None),
            ),
        ),
    )


def report(*functions: StoredFunction, **options: Any) -> Report:
    """Make a report of functions."""
    return build_report(usage(*functions), now=NOW, **options)


def text_of(lines: Any) -> str:
    """Join lines of segments as a terminal without colours shows them."""
    return "\n".join("".join(text for text, _ in line) for line in lines)
