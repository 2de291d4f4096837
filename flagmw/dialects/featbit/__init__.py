"""FeatBit: its messages, its rules, its users and its events.

Source: FeatBit reference; vectors `featbit`.
"""

from flagmw.dialects.featbit.dialect import FeatBitDialect
from flagmw.dialects.featbit.events import FeatBitEvents
from flagmw.dialects.featbit.wire import FeatBitPoll, FeatBitStream, check_env_secret

__all__ = ["FeatBitDialect", "FeatBitEvents", "FeatBitPoll", "FeatBitStream", "check_env_secret"]
