"""Runs the vectors of the usage agent: protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flagmw.errors import ConfigError, TransportError
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Function, FunctionKind
from flagmw.usage.scavenger.messages import Messages, written
from flagmw.usage.scavenger.schedule import OFFICIAL, Intervals, Job, Pair, State

Ran = tuple[dict[str, int], list[str]]


def run(data: Any, folder: Path) -> Ran:
    """Run one file's cases."""
    if "states" in data:
        return run_schedules(data)
    if "conf" in data["cases"][0]:
        return run_configs(data["cases"], folder)
    return run_messages(data["cases"])


# --- configuration ------------------------------------------------------------------------------------------


def run_configs(cases: Any, folder: Path) -> Ran:
    """Load each `scavenger.conf`; what a new agent should do instead of the official one is laid over."""
    failures = []
    for case in cases:
        expect, better = case["expect"], case.get("better", {})
        path = folder / "scavenger.conf"
        path.write_text(case["conf"], encoding="utf-8")
        try:
            config = UsageConfig.load(path)
        except ConfigError as error:
            if "config" in expect and not better.get("error"):
                failures.append(f"{case['name']}: {error}")
            continue
        wanted = {**expect.get("config", {}), **better}
        if wanted.pop("error", "error" in expect and not better):
            failures.append(f"{case['name']}: no error, but {config}")
            continue
        for name, value in wanted.items():
            found = shown(config, name)
            if found != (without_empty_names(name, value) if isinstance(value, list) else value):
                failures.append(f"{case['name']}: {name} is {found!r} instead of {value!r}")
    return {"config": len(cases)}, failures


def without_empty_names(name: str, names: list[str]) -> list[str]:
    """Leave out what stands between two commas, which the official agent takes for everything; it is a slip of the pen.

    No package at all is the same as everything; a config that watches nothing is refused.
    """
    left = [one for one in names if one]
    return left or [""] if name == "packages" else left


def shown(config: UsageConfig, name: str) -> Any:
    """Give a setting as the vectors write it."""
    if name.endswith("_seconds"):
        return getattr(config, f"{name[: -len('_seconds')]}_s")
    value = getattr(config, name)
    if isinstance(value, tuple):
        return list(value)
    return "" if value is None else value


# --- messages -----------------------------------------------------------------------------------------------


def run_messages(cases: Any) -> Ran:
    """Write each message, and read its bytes."""
    messages = Messages()
    failures = []
    for number, case in enumerate(cases):
        message = messages.new(case["message"], **case["fields"])
        if written(message).hex() != case["hex"]:
            failures.append(f"case {number}, {case['message']}: written as {written(message).hex()}")
        if messages.read(case["message"], bytes.fromhex(case["hex"])) != message:
            failures.append(f"case {number}, {case['message']}: not read as it was written")
    return {"wire": len(cases)}, failures


# --- schedules ----------------------------------------------------------------------------------------------


def run_schedules(data: Any) -> Ran:
    """Drive single states, and the whole job."""
    failures = [problem for case in data["states"] for problem in run_state(case)]
    failures += [problem for case in data["timelines"] for problem in run_timeline(case)]
    return {"schedule state": len(data["states"]), "timeline": len(data["timelines"])}, failures


def run_state(case: Any) -> list[str]:
    state = State(Pair(interval_s=case["interval_seconds"], retry_s=case["retry_interval_seconds"]))
    now_s = began_s = 1_000_000.0
    failures = []
    for number, step in enumerate(case["steps"]):
        if step["op"] == "advance":
            now_s += step["seconds"]
        elif step["op"] == "next":
            state.succeeded(now_s)
        elif step["op"] == "retry":
            state.failed(now_s)
        elif step["op"] == "now":
            state.now()
        else:
            pair = Pair(interval_s=step["interval_seconds"], retry_s=step["retry_interval_seconds"])
            state.update(pair, now_s)
        found = {
            "due": state.is_due(now_s),
            "next_at": state.next_s - began_s if state.next_s else None,
            "failures": state.failures,
            "factor": state.factor,
        }
        if any(step[name] != value for name, value in found.items()):
            failures.append(f"step {number} {step}: {found}")
    return failures


class Timeline:
    """The collector of a timeline, and what is told to it."""

    def __init__(self, case: Any) -> None:
        self.now_s = 0.0
        self.seen: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.scans = 0
        self._case = case
        self._calls = {"poll": 0, "codebase": 0, "invocations": 0}
        self._pending: list[str] | None = None

    def _call(self, name: str, **more: Any) -> None:
        pattern = self._case["failures"][name]
        number = self._calls[name]
        self._calls[name] += 1
        is_ok = pattern[number : number + 1] != "x"
        self.events.append({"at": self.now_s, "call": name, "ok": is_ok, **more})
        if not is_ok:
            raise TransportError("as the timeline wants it")

    def poll(self) -> Intervals:
        self._call("poll")
        answer = self._case["poll_answer"]
        return Intervals(
            poll=Pair(interval_s=answer["poll"], retry_s=answer["poll_retry"]),
            code_base=Pair(interval_s=answer["codebase"], retry_s=answer["codebase_retry"]),
            invocations=Pair(interval_s=answer["invocations"], retry_s=answer["invocations_retry"]),
        )

    def code_base(self) -> CodeBase:
        self.scans += 1
        functions = tuple(function(number) for number in range(min(self._case["functions"], 10)))
        return CodeBase(functions=functions, fingerprint="f")

    def count(self, code_base: CodeBase) -> int:
        return int(self._case["functions"])

    def refuse(self, count: int) -> None:
        """The timelines say nothing of what is logged."""

    def publish_code_base(self, code_base: CodeBase) -> None:
        self._call("codebase", entries=self._case["functions"])

    def publish_invocations(self) -> None:
        if self._pending is None:
            self._pending, self.seen = sorted(self.seen), []
        self._call("invocations", hashes=self._pending)
        self._pending = None


def function(number: int) -> Function:
    """Make a function of a code base that has no files."""
    return Function(
        package_name="app",
        declaring_type="app",
        name=f"f{number}",
        parameter_types="",
        kind=FunctionKind.DEF,
        path="/app.py",
        shown_path="app.py",
        first_line=number + 1,
        last_line=number + 1,
    )


def run_timeline(case: Any) -> list[str]:
    timeline = Timeline(case)
    job = Job(OFFICIAL, case["force_interval_seconds"])
    ticks = 0
    tick_s = float(case["first_tick_s"])
    while tick_s <= case["until_s"]:
        timeline.now_s = tick_s
        timeline.seen.append(f"{int(tick_s):032x}")
        job.run(timeline, tick_s, tick_s)
        ticks += 1
        tick_s += case["tick_s"]
    failures = []
    for number, (found, expected) in enumerate(zip(timeline.events, case["events"], strict=False)):
        if found != expected:
            failures.append(f"{case['name']}, event {number}: {found} instead of {expected}")
            break
    found_counts = len(timeline.events), timeline.scans, ticks
    if found_counts != (len(case["events"]), case["scans"], case["ticks"]):
        failures.append(f"{case['name']}: {found_counts} events, scans, ticks")
    return failures
