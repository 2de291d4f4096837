"""The flagd dialect: OpenFeature's flag documents, as flagd reads them from files.

`validity` checks a document, `document` compiles its flags, `rules` and `fractional` hold the operators that flagd adds
to JsonLogic, `tools` and `explaining` serve the people who write
flags.

Source: flagd's flag definition format and JSON schema; vectors `flagd`.
"""

from flagmw.dialects.flagd.document import FlagdDialect
from flagmw.dialects.flagd.tools import check, explain

__all__ = ["FlagdDialect", "check", "explain"]
