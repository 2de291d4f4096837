"""Who a request's flags are evaluated for: from a request to a user context, once and only when needed.

An adapter says how to find a known user (`build`) and how to read the request (`facts`); the rest is the same for
all: the anonymous id, the request's attributes, and what to do when the application's code raises.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome, failed
from flagmw.errors import ConfigError, ContextError
from flagmw.evaluation import ErrorCode
from flagmw.frozen import FrozenDict
from flagmw.http import AnonymousCookie, AnonymousIds, RequestFacts
from flagmw.once import LogOnce

logger = logging.getLogger("flagmw")

R = TypeVar("R")

UserBuilder = Callable[[R], UserContext | Mapping[str, Any] | None]
"""From a request to its user; None when nobody is known."""

REQUEST_ATTRIBUTE = "request"


def check_user_builder(build: object) -> None:
    """Refuse what cannot find a request's user.

    Raises:
        ConfigError: it is no plain function.
    """
    if not callable(build):
        raise ConfigError(f"user must be a function from request to UserContext, got {type(build).__name__}")
    if inspect.iscoroutinefunction(build):
        raise ConfigError("user must be a plain function: flags are read without await, so it cannot be awaited")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who makes a request.

    Attributes:
        context: None when the user could not be built; `failure` then says why.
        failure: the outcome of every flag in that case.
        anonymous_id: the id that the user was given just now and that the response has to set, None when there
            is nothing to set.
        facts: what is known of the request; None when even that could not be read.
    """

    context: UserContext | None
    failure: Outcome | None = None
    anonymous_id: str | None = None
    facts: RequestFacts | None = None

    @property
    def is_secure(self) -> bool:
        """Whether the request came over https."""
        return self.facts is not None and self.facts.is_secure


class Visitors(Generic[R]):
    """Finds out who makes a request.

    Args:
        build: from a request to its user, None when nobody is known. A user without a key gets the anonymous id
            as key.
        facts: from a request to what rules can read of it; None where there is no HTTP request, and so no cookie.
        anonymous: the cookie for users without a key; None or False leaves them without.

    Raises:
        ConfigError: `build` is no plain function, or `anonymous` no cookie.
    """

    def __init__(
        self,
        build: UserBuilder[R],
        facts: Callable[[R], RequestFacts | None],
        anonymous: AnonymousCookie | bool | None = None,
    ) -> None:
        check_user_builder(build)
        if anonymous is True:
            anonymous = AnonymousCookie()
        if anonymous and not isinstance(anonymous, AnonymousCookie):
            raise ConfigError(f"anonymous must be an AnonymousCookie or False, got {type(anonymous).__name__}")
        self._build = build
        self._facts = facts
        self.ids = AnonymousIds(anonymous) if anonymous else None
        self._log_once = LogOnce(logger)

    def find(self, request: R) -> Visitor:
        """Find out who makes a request. Never raises: a builder that does gives a visitor with a failure."""
        facts = None
        try:
            facts = self._facts(request)
            context = self._known(request)
            return self._visitor(context, facts, None)
        except Exception as error:  # the application's code: its request must go on
            return self._failed(error, facts)

    def identified(self, request: R | None, before: Visitor | None, user: UserContext | Mapping[str, Any]) -> Visitor:
        """Give the visitor for a user that the application states in the middle of a request. Never raises.

        Args:
            request: the request, as long as nobody has been found out.
            before: who it was until now; their anonymous id stays with the response.
            user: who it is from here on.
        """
        facts, anonymous_id = (before.facts, before.anonymous_id) if before is not None else (None, None)
        try:
            if facts is None and request is not None:
                facts = self._facts(request)
            context = UserContext.of(user)
            return self._visitor(context, facts, anonymous_id)
        except Exception as error:  # as in `find`
            return self._failed(error, facts)

    def _visitor(self, context: UserContext, facts: RequestFacts | None, anonymous_id: str | None) -> Visitor:
        """Give the visitor for a user; one without a key gets the anonymous id, a new one if there is none."""
        if facts is None:
            return Visitor(context=context, anonymous_id=anonymous_id)
        key = context.key
        if key is None and self.ids is not None:
            key = anonymous_id or self.ids.read(facts.cookies)
            if key is None:
                key = anonymous_id = self.ids.new()
        return Visitor(context=with_request(context, facts, key), anonymous_id=anonymous_id, facts=facts)

    def _known(self, request: R) -> UserContext:
        user = self._build(request)
        if user is None:
            return UserContext()
        if inspect.isawaitable(user):
            if inspect.iscoroutine(user):
                user.close()
            raise ContextError("the user builder gave an awaitable; flags are read without await, so it must be plain")
        return UserContext.of(user)

    def _failed(self, error: Exception, facts: RequestFacts | None) -> Visitor:
        # An exception's text may hold user data, so only its type and place are told; ours is safe.
        what = str(error) if isinstance(error, ContextError) else type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
        self._log_once(
            logging.ERROR,
            (what, place),
            "the user of a request could not be built: %s (%s); its flags give their defaults",
            what,
            place,
        )
        failure = failed(ErrorCode.INVALID_CONTEXT, f"the user could not be built: {what}")
        return Visitor(context=None, failure=failure, facts=facts)


def with_request(context: UserContext, facts: RequestFacts, key: str | None) -> UserContext:
    """Give the context with this key and with what rules can read of the request.

    An attribute of the application's with the same name stays as it is.
    """
    if REQUEST_ATTRIBUTE in context.attributes:
        return context if context.key == key else context.replace(key=key)
    return context.replace(
        key=key,
        # Texts of a bounded length: nothing that a context would have to check or copy.
        attributes=FrozenDict({**context.attributes, REQUEST_ATTRIBUTE: FrozenDict(facts.attributes())}),
        private=context.private | {REQUEST_ATTRIBUTE},
    )
