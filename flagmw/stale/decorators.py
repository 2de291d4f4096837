"""Which decorators leave a function what it was: something that runs only when somebody calls it by its name.

All others may hand it to somebody: a router, a registry, a task queue.
"""

from __future__ import annotations

import ast

from flagmw.stale.modules import Module
from flagmw.stale.receivers import Receivers

BUILT_IN = frozenset({"staticmethod", "classmethod", "property"})
HARMLESS = frozenset(
    {
        "abc.abstractmethod",
        "asgiref.sync.async_to_sync",
        "asgiref.sync.sync_to_async",
        "contextlib.asynccontextmanager",
        "contextlib.contextmanager",
        "dataclasses.dataclass",
        "django.contrib.admin.views.decorators.staff_member_required",
        "django.contrib.auth.decorators.login_required",
        "django.contrib.auth.decorators.permission_required",
        "django.contrib.auth.decorators.user_passes_test",
        "django.db.transaction.atomic",
        "django.db.transaction.non_atomic_requests",
        "django.utils.functional.cached_property",
        "flask_login.login_required",
        "functools.cache",
        "functools.cached_property",
        "functools.lru_cache",
        "functools.wraps",
        "typing.final",
        "typing.no_type_check",
        "typing.override",
        "typing_extensions.override",
        "warnings.deprecated",
    }
)
HARMLESS_MODULES = (
    "django.views.decorators.cache",
    "django.views.decorators.clickjacking",
    "django.views.decorators.csrf",
    "django.views.decorators.gzip",
    "django.views.decorators.http",
    "django.views.decorators.vary",
)


def is_harmless(module: Module, receivers: Receivers, decorator: ast.expr) -> bool:
    """Tell whether a decorator is known to register its function nowhere."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Name) and target.id in BUILT_IN and module.scope_of(target).resolve(target.id) is None:
        return True
    if receivers.own_name(target) == "require_flag":
        return True
    imported = module.imported(target)
    return imported is not None and (imported.dotted in HARMLESS or imported.module in HARMLESS_MODULES)
