"""What evaluating a flag costs: ours, and an equivalent flag in other Python SDKs, with everything in memory.

The flag has three conditions that all hold for the user, and then a rollout to half of the users. Each SDK is
used as its documentation says, with a context that is made once; none of them talks to a network.
Prints ratios of one run, in which all take turns. `docs/benchmarks.md` tells how to read them.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import services
from benchmarks.timing import Pace, Run, against, in_turn, nanoseconds, statement, table, verdict
from flagmw import Client, UserContext
from flagmw.core.documents import Document
from flagmw.dialects.flagd import FlagdDialect
from flagmw.providers import FlagFile

EVALUATION_GOAL_NS = 1_000
FLAGD_GOAL = 25
USERS = 1_000
COUNTRIES = ["DE", "AT", "CH"]
MATCHING: dict[str, Any] = {"country": "DE", "plan": "pro", "age": 30}
OTHER: dict[str, Any] = {"country": "US", "plan": "pro", "age": 30}

DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {
                "if": [
                    {
                        "and": [
                            {"in": [{"var": "country"}, COUNTRIES]},
                            {"==": [{"var": "plan"}, "pro"]},
                            {">=": [{"var": "age"}, 18]},
                        ]
                    },
                    {"fractional": [["on", 50], ["off", 50]]},
                    "off",
                ]
            },
        },
        "static": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """One way to evaluate the flag.

    Attributes:
        name: with the version.
        is_on: from a user's key and attributes to the flag's value, to see that all evaluate the same flag.
        run: evaluates for a matching user whose context exists already.
    """

    name: str
    is_on: Callable[[str, dict[str, Any]], bool]
    run: Run

    def agreement(self) -> str:
        """Say for how many users the flag is on, and whether that is what its rules mean."""
        share = sum(self.is_on(f"user-{number}", MATCHING) for number in range(USERS))
        others = sum(self.is_on(f"user-{number}", OTHER) for number in range(USERS))
        agrees = 0.4 * USERS < share < 0.6 * USERS and others == 0
        return f"on for {share} of {USERS}, {'agrees' if agrees else 'DIFFERS'}"


# --- the evaluators -----------------------------------------------------------------------------------------


@contextmanager
def flagmw_client(path: Path) -> Iterator[list[Evaluator]]:
    """Ours: the flag in a file, as an app has it."""

    def is_on(key: str, attributes: dict[str, Any]) -> bool:
        return client.is_enabled("checkout", UserContext(key, attributes=attributes))

    with Client(FlagFile(path)) as client:
        names = {"client": client, "user": UserContext("user-1", attributes=MATCHING)}
        yield [
            Evaluator(
                name=f"flagmw {version('flagmw')}, Client.variation",
                is_on=is_on,
                run=statement("client.variation('checkout', user, False)", **names),
            ),
            Evaluator(
                name="flagmw, Client.is_enabled",
                is_on=is_on,
                run=statement("client.is_enabled('checkout', user)", **names),
            ),
        ]


@contextmanager
def openfeature_flagd(path: Path) -> Iterator[list[Evaluator]]:
    """Evaluate the same file: flagd's provider in its file mode, by itself and through the OpenFeature client."""
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    # The deadline is also how often it looks at the file: not while we measure.
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), deadline_ms=3_600_000)
    api.set_provider_and_wait(provider)
    client = api.get_client()
    names = {"provider": provider, "client": client, "context": EvaluationContext("user-1", MATCHING)}

    def is_on(key: str, attributes: dict[str, Any]) -> bool:
        return bool(client.get_boolean_value("checkout", False, EvaluationContext(key, attributes)))  # noqa: FBT003  # its API

    try:
        yield [
            Evaluator(
                name=f"openfeature-provider-flagd {version('openfeature-provider-flagd')}, its evaluator",
                is_on=is_on,
                run=statement("provider.resolve_boolean_details('checkout', False, context)", **names),
            ),
            Evaluator(
                name=f"the same, through openfeature-sdk {version('openfeature-sdk')}",
                is_on=is_on,
                run=statement("client.get_boolean_value('checkout', False, context)", **names),
            ),
        ]
    finally:
        api.shutdown()


@contextmanager
def launchdarkly(folder: Path) -> Iterator[list[Evaluator]]:
    """Evaluate an equivalent flag from a file: the SDK's TestData has no rollouts, its file source has."""
    from ldclient import Config, Context, LDClient
    from ldclient.integrations import Files

    clauses = [
        {"attribute": "country", "op": "in", "values": COUNTRIES},
        {"attribute": "plan", "op": "in", "values": ["pro"]},
        {"attribute": "age", "op": "greaterThanOrEqual", "values": [18]},
    ]
    half = [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]
    flag = {
        "key": "checkout",
        "version": 1,
        "on": True,
        "variations": [True, False],
        "offVariation": 1,
        "fallthrough": {"variation": 1},
        "salt": "salt",
        "rules": [{"id": "rule", "clauses": clauses, "rollout": {"variations": half}}],
    }
    path = folder / "launchdarkly.json"
    path.write_text(json.dumps({"flags": {"checkout": flag}}), encoding="utf-8")
    source = Files.new_data_source(paths=[str(path)])
    config = Config("no key", update_processor_class=source, send_events=False, diagnostic_opt_out=True)
    client: Any = LDClient(config, start_wait=10)

    def context(key: str, attributes: dict[str, Any]) -> Any:
        builder = Context.builder(key)
        for name, value in attributes.items():
            builder.set(name, value)
        return builder.build()

    try:
        yield [
            Evaluator(
                name=f"launchdarkly-server-sdk {version('launchdarkly-server-sdk')}",
                is_on=lambda key, attributes: client.variation("checkout", context(key, attributes), False),  # noqa: FBT003  # its API
                run=statement(
                    "client.variation('checkout', context, False)", client=client, context=context("user-1", MATCHING)
                ),
            )
        ]
    finally:
        client.close()


@contextmanager
def growthbook(_: Path) -> Iterator[list[Evaluator]]:
    """Evaluate an equivalent feature; an instance of the SDK belongs to one user."""
    from growthbook import GrowthBook

    condition = {"country": {"$in": COUNTRIES}, "plan": "pro", "age": {"$gte": 18}}
    rule = {"condition": condition, "force": True, "coverage": 0.5, "hashAttribute": "id"}
    features = {"checkout": {"defaultValue": False, "rules": [rule]}}

    def of(key: str, attributes: dict[str, Any]) -> Any:
        return GrowthBook(attributes={"id": key, **attributes}, features=features)

    yield [
        Evaluator(
            name=f"growthbook {version('growthbook')}",
            is_on=lambda key, attributes: of(key, attributes).is_on("checkout"),
            run=statement("book.is_on('checkout')", book=of("user-1", MATCHING)),
        )
    ]


@contextmanager
def unleash(folder: Path) -> Iterator[list[Evaluator]]:
    """Evaluate an equivalent feature from a bootstrapped cache; the client is never initialized, so nothing starts."""
    from UnleashClient import UnleashClient  # type: ignore[attr-defined]  # its package says so nowhere else
    from UnleashClient.cache import FileCache

    strategy = {
        "name": "flexibleRollout",
        "parameters": {"rollout": "50", "stickiness": "default", "groupId": "checkout"},
        "constraints": [
            {"contextName": "country", "operator": "IN", "values": COUNTRIES},
            {"contextName": "plan", "operator": "IN", "values": ["pro"]},
            {"contextName": "age", "operator": "NUM_GTE", "value": "18"},
        ],
    }
    feature = {"name": "checkout", "type": "release", "enabled": True, "strategies": [strategy]}
    cache = FileCache("benchmark", directory=str(folder))
    cache.bootstrap_from_dict({"version": 2, "features": [feature]})
    client = UnleashClient(
        "http://localhost:9/api", "benchmark", cache=cache, disable_metrics=True, disable_registration=True
    )

    def context(key: str, attributes: dict[str, Any]) -> dict[str, Any]:
        return {"userId": key, "properties": {name: str(value) for name, value in attributes.items()}}

    yield [
        Evaluator(
            name=f"UnleashClient {version('UnleashClient')}",
            is_on=lambda key, attributes: client.is_enabled("checkout", context(key, attributes)),
            run=statement("client.is_enabled('checkout', context)", client=client, context=context("user-1", MATCHING)),
        )
    ]


# --- ours alone ---------------------------------------------------------------------------------------------


def flags_for_compiling(count: int) -> Document:
    flag = DOCUMENT["flags"]["checkout"]
    flags = {f"flag-{number}": {**flag, "metadata": {"number": number}} for number in range(count)}
    return Document(name="flags.json", content=json.dumps({"flags": flags}).encode())


def ours_alone(client: Client) -> dict[str, tuple[Run, int, str]]:
    """Give what has nothing to be compared with: how to run it, how many it does at once, and of what."""
    user = UserContext("user-1", attributes=MATCHING)
    dialect = FlagdDialect(fractional="v2", wall_clock=lambda: 0.0)
    compiling = statement("dialect.compile([document], (), None)", dialect=dialect, document=flags_for_compiling(1_000))
    names: dict[str, Any] = {"UserContext": UserContext, "attributes": MATCHING, "user": user, "client": client}
    names["mapping"] = {"key": "user-1", **MATCHING}
    return {
        "static flag, Client.variation": (statement("client.variation('static', user, False)", **names), 1, ""),
        "flag of 3 conditions, Client.variation_detail": (
            statement("client.variation_detail('checkout', user, False)", **names),
            1,
            "",
        ),
        "UserContext, a key alone": (statement("UserContext('user-1')", **names), 1, ""),
        "UserContext, 3 attributes": (statement("UserContext('user-1', attributes=attributes)", **names), 1, ""),
        "UserContext.of a mapping": (statement("UserContext.of(mapping)", **names), 1, ""),
        "compiling 1,000 flags of 3 conditions": (compiling, 1_000, "per flag"),
    }


# --- printing -----------------------------------------------------------------------------------------------


def compared(evaluators: list[Evaluator], pace: Pace) -> list[list[str]]:
    found = in_turn([evaluator.run for evaluator in evaluators], pace)
    rows = []
    for evaluator, times in zip(evaluators, found, strict=True):
        result = against(times, found[0])
        goal, met = "none", ""
        if evaluator is evaluators[0]:
            goal, met = f"< {EVALUATION_GOAL_NS:,} ns", verdict(is_met=result.ns < EVALUATION_GOAL_NS)
        elif "provider-flagd" in evaluator.name:
            goal, met = f"ratio >= {FLAGD_GOAL}", verdict(is_met=result.ratio >= FLAGD_GOAL)
        rows.append([evaluator.name, nanoseconds(result.ns), f"{result.ratio:.1f}", goal, met, evaluator.agreement()])
    return rows


def main() -> None:
    pace = Pace.from_arguments(__doc__ or "")
    logging.disable(logging.CRITICAL)  # the SDKs have much to say about having no server
    with tempfile.TemporaryDirectory() as folder_name, ExitStack() as stack:
        folder = Path(folder_name)
        path = folder / "flags.json"
        path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
        evaluators: list[Evaluator] = []
        for make, where in (
            (flagmw_client, path),
            (openfeature_flagd, path),
            (launchdarkly, folder),
            (growthbook, folder),
            (unleash, folder),
        ):
            evaluators.extend(stack.enter_context(make(where)))
        heads = ["evaluator", "ns", "ratio to ours", "goal", "met", "users"]
        table("A flag of 3 conditions and a rollout to half of the users", heads, compared(evaluators, pace))
        print()
        table("The same flag in each flag service's own form, for one user", services.HEADS, services.rows(pace))
        print()
        client = stack.enter_context(Client(FlagFile(path)))
        rows = []
        for name, (run, count, unit) in ours_alone(client).items():
            (times,) = in_turn([run], pace)
            rows.append([name, nanoseconds(against(times, times).ns / count), unit])
        table("flagmw alone", ["what", "ns", ""], rows)


if __name__ == "__main__":
    main()
