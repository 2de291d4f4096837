"""Feature flags in Celery tasks: `flagmw_celery.Flags(app, client)`, then `flagmw.flags` in a task as in a request.

Needs Celery 5.3. Importing it touches no app and starts nothing.
"""

from __future__ import annotations

from flagmw_celery.extension import HEADER, Flags

__all__ = ["HEADER", "Flags"]
