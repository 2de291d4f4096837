"""The Hackle dialect: config documents, evaluation, and events of the service Hackle.

`reading` makes the definitions of `model` from a document, `compiling` compiles them: `experiments` (A/B tests and feature
flags, on `buckets` and `decisions`), `remote_config`, their `conditions` and `matching` on `values` and `versions`; `calls`
holds what one evaluation asks of other experiments. `users` says who it is for, `events` and `operations` what is told to
the service, `wire` how it is asked.

Monitoring metrics, which the official client sends about itself, are left out on purpose.

Source: Hackle reference; vectors `hackle`.
"""

from flagmw.dialects.hackle.dialect import HackleDialect
from flagmw.dialects.hackle.events import EventTypes, HackleEvents
from flagmw.dialects.hackle.insert_ids import insert_id
from flagmw.dialects.hackle.operations import PropertyOperations
from flagmw.dialects.hackle.wire import EVENT_URL, SDK_URL, HackleConfig, check_sdk_key

__all__ = [
    "EVENT_URL",
    "SDK_URL",
    "EventTypes",
    "HackleConfig",
    "HackleDialect",
    "HackleEvents",
    "PropertyOperations",
    "check_sdk_key",
    "insert_id",
]
