"""The flagd dialect: OpenFeature's flag documents, as flagd reads them from files.

`document` checks a document and compiles its flags, `rules` holds the operators that flagd adds to JsonLogic.

Source: flagd's flag definition format and JSON schema; vectors `flagd`.
"""

from flagmw.dialects.flagd.document import FlagdDialect, check, explain

__all__ = ["FlagdDialect", "check", "explain"]
