"""The flag of `benchmarks/evaluation.py` as each flag service has it: ours, and the service's own client, for one user.

Both evaluate locally, without events; featureflag.co's own client is not published any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from benchmarks.timing import Pace, Run, against, in_turn, nanoseconds, statement, verdict
from flagmw import Client
from flagmw.providers import FeatBit, FeatureFlagCo, Hackle
from tests.services.environments import featbit, featureflag_co, hackle
from tests.services.hackle_server import HackleServer
from tests.services.official_clients import FeatBitCalls, HackleCalls
from tests.services.tokens import featbit_secret

GOAL = 30
USERS = 1_000
COUNTRIES = '["DE","AT","CH"]'
ATTRIBUTES: dict[str, Any] = {"country": "DE", "plan": "pro", "age": 30}
CONDITIONS = (("plan", "Equal", "pro"), ("age", "BiggerEqualThan", "18"))
HALVES = [[0, 0.5], [0.5, 1]]

HEADS = ["service", "ours ns", "its own client's ns", "ratio", "goal", "met", "users"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One flag in two clients.

    Attributes:
        service: with the version of its client.
        ours: evaluates the flag.
        own: the same in the service's own client; None where there is none.
        answer: ours, from the number of a user to the flag's value.
        own_answer: the other client's.
    """

    service: str
    ours: Run
    own: Run | None
    answer: Callable[[int], Any]
    own_answer: Callable[[int], Any] | None

    def agreement(self) -> str:
        """Say for how many users both give the same value, and how those are spread."""
        values = [self.answer(number) for number in range(USERS)]
        share = sum(value == values[0] for value in values)
        if self.own_answer is None:
            return f"one side for {share} of {USERS}"
        agreed = sum(self.own_answer(number) == value for number, value in enumerate(values))
        return f"same for {agreed} of {USERS}, one side for {share}"


@contextmanager
def featbit_pair() -> Iterator[Pair]:
    """FeatBit: both clients read the same document, offline."""
    rule = featbit.rule(("country", "IsOneOf", COUNTRIES), *CONDITIONS, variations=featbit.rollout(HALVES))
    document = featbit.environment([featbit.flag("checkout", rules=[rule])])
    own = FeatBitCalls(bootstrap=json.dumps(document))

    def user_of(number: int) -> Mapping[str, Any]:
        return {"key": f"user-{number}", "name": "Ana", **ATTRIBUTES}

    request = {"key": "checkout", "default": False}
    with Client(FeatBit(featbit_secret(), offline=True, bootstrap=document)) as client:
        names = {"client": client, "user": client.context_or_failure(user_of(1))}
        try:
            yield Pair(
                service=f"FeatBit (fb-python-sdk {version('fb-python-sdk')})",
                ours=statement("client.variation('checkout', user, False)", **names),
                own=statement("once()", once=own.bare(user_of(1), request)),
                answer=lambda number: client.variation("checkout", user_of(number), None),
                own_answer=lambda number: own.bare(user_of(number), request)(),
            )
        finally:
            own.close()


@contextmanager
def hackle_pair() -> Iterator[Pair]:
    """Hackle: a feature flag's rule cannot have a rollout of its own and an audience can, so it is an A/B test."""
    audience = hackle.target(
        hackle.condition("country", "IN", "DE", "AT", "CH"),
        hackle.condition("plan", "IN", "pro"),
        hackle.condition("age", "GTE", 18, value_type="NUMBER"),
    )
    test = hackle.experiment(
        61, 5, [hackle.variation(71, "A"), hackle.variation(72, "B")], hackle.bucketed(501), audiences=[audience]
    )
    workspace = {"buckets": [hackle.bucket(501, [(5000, 71), (5000, 72)])], "experiments": [test]}

    def user_of(number: int) -> dict[str, Any]:
        return {"id": f"user-{number}", "properties": ATTRIBUTES}

    request = {"call": "variation_detail", "key": 5, "default": "A"}
    with HackleServer() as server, Client(Hackle("key", offline=True, bootstrap=workspace)) as client:
        server.load(workspace)
        own = HackleCalls(sdk_key=server.sdk_key, url=server.url, sends_events=False)
        names = {"client": client, "user": client.context_or_failure(user_of(1))}
        try:
            yield Pair(
                service=f"Hackle (hackle-sdk {version('hackle-sdk')})",
                ours=statement("client.variation(5, user, 'A')", **names),
                own=statement("once()", once=own.bare(own.user_of(user_of(1)), request)),
                answer=lambda number: client.variation(5, user_of(number), "A"),
                own_answer=lambda number: own.bare(own.user_of(user_of(number)), request)(),
            )
        finally:
            own.close()


@contextmanager
def featureflag_co_pair() -> Iterator[Pair]:
    """featureflag.co: ours alone."""
    values = ("true", "false")
    shares = featureflag_co.rollout(values, HALVES)
    rule = featureflag_co.rule(("Country", "IsOneOf", COUNTRIES), *CONDITIONS, valueOptionsVariationRuleValues=shares)
    document = featureflag_co.environment([featureflag_co.flag("checkout", values=values, rules=[rule])])

    def user_of(number: int) -> dict[str, Any]:
        return {"key": f"user-{number}", **ATTRIBUTES}

    with Client(FeatureFlagCo(featureflag_co.SECRET, offline=True, bootstrap=document)) as client:
        names = {"client": client, "user": client.context_or_failure(user_of(1))}
        yield Pair(
            service="featureflag.co",
            ours=statement("client.variation('checkout', user, '')", **names),
            own=None,
            answer=lambda number: client.variation("checkout", user_of(number), None),
            own_answer=None,
        )


def rows(pace: Pace) -> list[list[str]]:
    """Measure all services and give a table's rows."""
    found = []
    with ExitStack() as stack:
        for make in (featbit_pair, hackle_pair, featureflag_co_pair):
            pair = stack.enter_context(make())
            runs = [pair.ours] if pair.own is None else [pair.own, pair.ours]
            *own, ours = in_turn(runs, pace)
            figures = [nanoseconds(against(ours, ours).ns), "not published", "", "none", ""]
            if own:
                result = against(own[0], ours)
                met = verdict(is_met=result.ratio >= GOAL)
                figures = [
                    nanoseconds(result.other_ns),
                    nanoseconds(result.ns),
                    f"{result.ratio:.1f}",
                    f"ratio >= {GOAL}",
                    met,
                ]
            found.append([pair.service, *figures, pair.agreement()])
    return found
