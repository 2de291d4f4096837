"""featureflag.co: its messages, its rules, its users and its events.

Source: featureflag.co reference; vectors `featureflag_co`.
"""

from flagmw.dialects.featureflag_co.dialect import FeatureFlagCoDialect
from flagmw.dialects.featureflag_co.events import FeatureFlagCoEvents
from flagmw.dialects.featureflag_co.secrets import check_env_secret
from flagmw.dialects.featureflag_co.wire import FeatureFlagCoStream

__all__ = ["FeatureFlagCoDialect", "FeatureFlagCoEvents", "FeatureFlagCoStream", "check_env_secret"]
