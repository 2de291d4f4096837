"""Feature flags in Django: one line in MIDDLEWARE, and every view has `request.flags`.

Put `flagmw_django` into INSTALLED_APPS for the system checks, the template tags and `manage.py flags`,
`flagmw_django.FlagMiddleware` into MIDDLEWARE, and say in `FLAGMW` where the flags are.
"""

from flagmw_django.decorators import RequireFlagMixin, require_flag
from flagmw_django.middleware import FlagMiddleware
from flagmw_django.request import FlagsRequest
from flagmw_django.users import context_of

__all__ = ["FlagMiddleware", "FlagsRequest", "RequireFlagMixin", "context_of", "require_flag"]
