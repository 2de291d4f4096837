"""Feature flags in Flask: `flagmw_flask.Flags(app)`, then `request.flags`, `flags` in templates, `flask flags`.

Needs Flask 3. Importing it touches no app and starts nothing.
"""

from __future__ import annotations

from flagmw_flask.extension import Flags
from flagmw_flask.views import require_flag

__all__ = ["Flags", "require_flag"]
