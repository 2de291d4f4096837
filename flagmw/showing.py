"""What the `flags list` and `flags eval` commands of web frameworks show; how they print it is theirs.

Looking at a flag is no exposure, so nothing here reaches a sink.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.core.evaluating import evaluate
from flagmw.evaluation import Evaluation
from flagmw.evaluations import flag_keys
from flagmw.status import State

READY_S = 10.0
"""How long a flag service may take to answer; a file is there at once."""


def start_for_showing(client: Client) -> str | None:
    """Start a client and wait for its flags, as long as there is any hope of them.

    Returns:
        None when flags are there, else a sentence that says why not.
    """
    client.start()
    is_trying = client.status.state is State.INITIALIZING and client.status.error is None
    if client.wait_until_ready(READY_S if is_trying else 0.0):
        return None
    return f"no flags have arrived: {client.status.error or 'the client has none'}"


def shown_evaluation(client: Client, key: str, context: UserContext) -> Evaluation:
    """Evaluate one flag for a look."""
    snapshot = client.snapshot()
    return client.evaluation(evaluate(snapshot, key, context), key, None, snapshot)


def listed(client: Client, context: UserContext) -> Sequence[str]:
    """Give a line for each flag: key, value and reason, in columns."""
    found = [shown_evaluation(client, key, context) for key in flag_keys(client.snapshot())]
    rows = [(one.flag_key, _json(one.value), reason_of(one)) for one in found]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    return [f"{key:<{widths[0]}}  {value:<{widths[1]}}  {reason}" for key, value, reason in rows]


def described(evaluation: Evaluation) -> Sequence[str]:
    """Give the lines that show one evaluation."""
    variation = evaluation.variation if evaluation.variation is not None else "(the default)"
    return [
        f"value:     {_json(evaluation.value)}",
        f"variation: {variation}",
        f"reason:    {reason_of(evaluation)}",
    ]


def reason_of(evaluation: Evaluation) -> str:
    """Give the reason with the error, or else with the flag service's own word for it."""
    if evaluation.error_code is not None:
        return f"{evaluation.reason} {evaluation.error_code}: {evaluation.error_message}"
    own_word = f" ({evaluation.provider_reason})" if evaluation.provider_reason else ""
    return f"{evaluation.reason}{own_word}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
