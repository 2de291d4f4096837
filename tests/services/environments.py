"""Builders of flags, environments and users, one module for each service.

    from tests.services.environments import featbit, featureflag_co, hackle

    featbit.boolean_flag("checkout-v2")                 # one flag, as `FeatBitServer.put_flag` takes it
    featbit.flag("price", values=("1", "2"), kind="number", ranges=[[0, 0.2], [0.2, 1]])
    featbit.random_environment(seed=7)                  # an envelope, as `FeatBitServer.load` takes it
    featbit.random_users(seed=8, count=1000)
    featbit.requests_for(envelope)                      # all flags, as the official clients of the tests take them
    featbit.large_environment()                         # 10,000 flags, about 20 MB of JSON

`featureflag_co` has the same functions. `hackle` has `small_workspace`, `random_workspace`, `random_users`, `requests_for` and
the parts to build a workspace from.
"""

from __future__ import annotations

from tests.services import featbit_flags as featbit
from tests.services import featureflag_co_flags as featureflag_co
from tests.services import hackle_workspaces as hackle

__all__ = ["featbit", "featureflag_co", "hackle"]
