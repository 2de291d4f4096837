"""Page views: an event for each page that a user was shown, so that experiments can count where people go.

`PageViews` says what is wanted; a middleware asks `PageViewer` about each response. What a page's name is, is the host's
to say: the template of its route. Nothing here knows how events are sent.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from flagmw.accessor import Flags
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ConfigError
from flagmw.once import LogOnce
from flagmw.users import Visitors

logger = logging.getLogger("flagmw")

R = TypeVar("R")

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})
"""What people look at as a page; the answers that scripts and images get are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageViews:
    """Which page views are told to the flag service, and by what name.

    A page view is a GET request that was answered with a 2xx status and with HTML. It is told once per request, as an
    event without a value, like one of `track`.

    Args:
        everyone: False tells only of users who were served a running experiment's variation in this process; True
            of everybody who has a key. A visitor who has no key yet is given none for it.
        prefix: put before each name.
        name: from a request to the name, None for a page that is not to be told of; a plain function. It is given what
            `user` is given. The default is the template of the route, where the host has routes.

    Raises:
        ConfigError: an argument that is not what it should be.
    """

    everyone: bool = False
    prefix: str = ""
    name: Callable[[Any], str | None] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not isinstance(self.everyone, bool):
            raise ConfigError(f"everyone must be a bool, got {type(self.everyone).__name__}")
        if not isinstance(self.prefix, str):
            raise ConfigError(f"prefix must be a str, got {type(self.prefix).__name__}")
        if self.name is not None and not callable(self.name):
            raise ConfigError(f"name must be a function from request to str, got {type(self.name).__name__}")
        if inspect.iscoroutinefunction(self.name):
            raise ConfigError("name must be a plain function: it is not awaited")


def check_page_views(page_views: object) -> PageViews | None:
    """Give what is wanted, None when no page views are.

    Raises:
        ConfigError: it is neither a bool nor a `PageViews`.
    """
    if isinstance(page_views, PageViews):
        return page_views
    if not isinstance(page_views, bool):
        raise ConfigError(f"page_views must be a PageViews, True or False, got {type(page_views).__name__}")
    return PageViews() if page_views else None


def is_page(method: str | None, status: int, content_type: str | None) -> bool:
    """Tell whether a response is a page that somebody looks at."""
    if method != "GET" or not 200 <= status < 300 or not content_type:
        return False
    return content_type.partition(";")[0].strip().lower() in PAGE_TYPES


class PageView(NamedTuple):
    """One page that is shown.

    Attributes:
        context: to whom; None to nobody who can be told of.
    """

    name: str
    context: UserContext | None


class PageViewer(Generic[R]):
    """Tells of the page views of one middleware. Nothing of it raises into a request.

    Args:
        page_views: what is wanted.
        client: what they are told to.
        visitors: finds out who makes a request.
        template: gives the template of the route that answers a request; None where the host has no routes.
    """

    def __init__(
        self,
        page_views: PageViews,
        client: Client,
        visitors: Visitors[R],
        template: Callable[[R], str | None] | None = None,
    ) -> None:
        self._everyone = page_views.everyone
        self._prefix = page_views.prefix
        self._name: Callable[[R], str | None] | None = page_views.name or template
        self._client = client
        self._visitors = visitors
        self._log_once = LogOnce(logger)
        if self._name is None:
            logger.warning(
                "no page views are told: pages have no names here; pass page_views=PageViews(name=...), "
                "a function from a request to a name"
            )

    def begun(self, flags: Flags, request: R) -> PageView | None:
        """Say which page is shown to whom, when the response to a request begins; None when it has no name.

        Only a request that has read no flag has its user looked up for this.
        """
        try:
            name = self._name(request) if self._name is not None else None
            if not name:
                return None
            if not isinstance(name, str):
                raise TypeError(f"the name of a page is a {type(name).__name__}")
            context = self._context(flags, request)
        except Exception as error:  # the application's code; its request must go on
            self._log_once(
                logging.ERROR,
                ("name", type(error).__name__),
                "a page view is not told: naming the page raised %s; others like it are left out silently",
                type(error).__name__,
            )
            return None
        return PageView(self._prefix + name, context)

    def sent(self, view: PageView, flags: Flags) -> PageView:
        """Take note that a flag was read after all before the headers were sent, and so perhaps a cookie set."""
        visitor = flags.visitor
        return view if visitor is None else PageView(view.name, visitor.context)

    def _context(self, flags: Flags, request: R) -> UserContext | None:
        visitor = flags.visitor
        if visitor is None:
            if not self._everyone and not self._client.has_participants:
                return None
            visitor = self._visitors.find(request)
            if visitor.anonymous_id is not None:
                return None  # nobody whom we know; a page view alone is no reason to set a cookie
        return visitor.context

    def told(self, view: PageView) -> None:
        """Tell of a page when it was shown, if its user is of interest."""
        context = view.context
        if context is None or context.key is None:
            return
        if self._everyone or self._client.takes_part(context):
            self._client.track(context, view.name)


__all__ = ["PageView", "PageViewer", "PageViews", "check_page_views", "is_page"]
