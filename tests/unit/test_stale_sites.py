"""Where flags are read: what counts as a call site, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagmw.stale.sites import find_call_sites
from tests.unit.stale_support import code_of, found_in, sites_of


def keys(folder: Path, source: str) -> list[str | None]:
    return [site.flag_key for site in sites_of(folder, source)]


def certain(folder: Path, source: str) -> list[str | None]:
    return [site.flag_key for site in sites_of(folder, source) if site.is_certain]


def test_a_site_tells_where_it_is_and_what_is_done_with_it(tmp_path: Path) -> None:
    (site,) = sites_of(
        tmp_path,
        """
        class Cart:
            def total(self, request):
                if request.flags.is_enabled("rebate",
                                            default=True):
                    return 1
        """,
    )
    assert (site.line, site.column, site.end_line) == (4, 11, 5)
    assert (site.flag_key, site.method, site.default) == ("rebate", "is_enabled", "True")
    assert (site.function, site.use) == ("Cart.total", "condition")
    assert site.shown_path.endswith("app/views.py")
    assert site.is_certain


@pytest.mark.parametrize(
    "expression",
    [
        'request.flags.is_enabled("k")',
        'self.flags.variation("k", None)',
        'self.request.flags.json("k")',
        'request.state.flags.string("k")',
        'g.flags.config("k")',
        'environ["flagmw.flags"].boolean("k")',
        'environ.get("flagmw.flags").number("k")',
        'scope["state"]["flags"].integer("k")',
        'flags.variation_detail("k")',
        'flags.is_enabled_detail(key="k")',
        'flags.config_detail("k")',
        'flagmw.flags.string("k")',
        'flagmw.get_client().string("k", user)',
        'get_client("shop").json("k", user)',
        'get_flags(request).string("k")',
        'client.number("k", user, 1.0)',
        'self.client.string("k", user)',
        'flag_client.string("k", user)',
        'typed.string("k")',
        'optional.string("k")',
        'quoted.string("k")',
        'opened.string("k", user)',
    ],
)
def test_a_read_of_the_accessor_or_of_a_client_is_a_site(expression: str, tmp_path: Path) -> None:
    source = f"""
import flagmw
from typing import Optional
from flagmw import Client, flags, get_client
from flagmw.accessor import Flags
from flagmw_starlette import FlagsDep, get_flags

client = flagmw.configure()

class Service:
    def __init__(self):
        self.client = Client(None)

    def read(self, request, environ, scope, user, g, flag_client,
             typed: FlagsDep, optional: Optional[Flags], quoted: "Flags"):
        with Client(None) as opened:
            return {expression}
"""
    assert certain(tmp_path, source) == ["k"]


@pytest.mark.parametrize(
    "expression",
    [
        'response.json("k")',
        'app.config("k")',
        'faker.string("k")',
        '"text".string("k")',
        'random.integer("k")',
        'client.json("k")',
        'settings.all()["k"]',
        'override_flags({"k": True})',
        "override_flags(k=True)",
        'flags.track("k")',
        'flags.identify("k")',
        're.compile("k", flags=2)',
        "statistics.variation(values)",
        'flags["k"]',
    ],
)
def test_what_only_looks_like_a_read_is_no_site(expression: str, tmp_path: Path) -> None:
    source = f"""
import random, re, statistics
from flagmw import flags
from flagmw.testing import override_flags
from http_library import client

def read(response, app, faker, settings, values):
    return {expression}
"""
    assert keys(tmp_path, source) == []


@pytest.mark.parametrize(
    "expression",
    ['waffle.is_enabled("k")', 'self.features.variation("k", "plain")', 'features().is_enabled_detail("k")'],
)
def test_a_clear_method_of_something_unknown_is_an_uncertain_site(expression: str, tmp_path: Path) -> None:
    (site,) = sites_of(tmp_path, f"import waffle\ndef read(self, features):\n    return {expression}\n")
    assert (site.flag_key, site.is_certain) == ("k", False)


@pytest.mark.parametrize(
    "source",
    [
        'from absl import flags\nflags.is_enabled("k")',
        'flags = Switches()\nflags.is_enabled("k")',
        'def f(flags: Switches):\n    flags.is_enabled("k")',
        'class A:\n    def __init__(self):\n        self.flags = Switches()\n    def f(self):\n        self.flags.is_enabled("k")',
        'from flagmw import flags\nfrom other import flags\nflags.is_enabled("k")',
    ],
)
def test_flags_of_another_make_are_uncertain(source: str, tmp_path: Path) -> None:
    (site,) = sites_of(tmp_path, source)
    assert not site.is_certain


@pytest.mark.parametrize(
    ("setup", "key"),
    [
        ('K = "k"', "K"),
        ('K: str = "k"', "K"),
        ('from typing import Final\nK: Final = "k"', "K"),
        ('class Keys:\n    K = "k"', "Keys.K"),
        ('from enum import StrEnum\nclass Keys(StrEnum):\n    K = "k"', "Keys.K"),
        ("from enum import StrEnum, auto\nclass Keys(StrEnum):\n    K = auto()", "Keys.K"),
        ('import enum\nclass Keys(str, enum.Enum):\n    K = "k"', "Keys.K"),
        ('from enum import Enum\nclass Keys(Enum):\n    K = "k"', "Keys.K.value"),
        ('from django.db import models\nclass Keys(models.TextChoices):\n    K = "k", "Label"', "Keys.K"),
        ("from app.keys import K", "K"),
        ("from .keys import K as RENAMED", "RENAMED"),
        ("from app import keys", "keys.K"),
        ("import app.keys", "app.keys.K"),
        ("from app.again import K", "K"),
        ("from app.keys import Keys", "Keys.K"),
        ("from app import keys", "keys.Keys.K"),
        ("from app.keys import Enumerated", "Enumerated.K.value"),
        ("", '"k"'),
        ("", '("k")'),
        ("", '"" "k"'),
    ],
)
def test_a_key_is_followed_to_its_literal(setup: str, key: str, tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/keys.py": 'from enum import Enum\nK = "k"\nclass Keys:\n    K = "k"\nclass Enumerated(Enum):\n    K = "k"\n',
        "app/again.py": "from app.keys import K\n",
        "app/views.py": f"from flagmw import flags\n{setup}\ndef read():\n    return flags.is_enabled({key})\n",
    }
    assert [(site.flag_key, site.is_certain) for site in found_in(tmp_path, files).sites] == [("k", True)]


@pytest.mark.parametrize(
    ("setup", "key"),
    [
        ("", "name"),
        ("", 'f"new-{name}"'),
        ("", '"new-" + name'),
        ("", "KEYS[0]"),
        ('K = "k"\nK = "other"', "K"),
        ('if x:\n    K = "k"\nelse:\n    K = "other"', "K"),
        ('K = "k"\ndef change():\n    global K\n    K = "other"', "K"),
        ('from enum import Enum\nclass Keys(Enum):\n    K = "k"', "Keys.K"),
        ("from elsewhere import K", "K"),
        ("", "True"),
        ("", "*keys"),
    ],
)
def test_a_key_that_is_not_known_is_told_as_such(setup: str, key: str, tmp_path: Path) -> None:
    source = f"from flagmw import flags\n{setup}\ndef read(name, keys):\n    return flags.is_enabled({key})\n"
    assert keys(tmp_path, source) == [None]


def test_a_number_is_a_key(tmp_path: Path) -> None:
    assert keys(tmp_path, "from flagmw import flags\nflags.variation(42)\n") == ["42"]


def test_nothing_is_concluded_from_a_key_that_a_subclass_may_replace(tmp_path: Path) -> None:
    (site,) = sites_of(
        tmp_path, 'class A:\n    flag = "k"\n    def f(self):\n        self.flags.is_enabled(self.flag)\n'
    )
    assert (site.flag_key, site.is_certain) == ("k", False)


@pytest.mark.parametrize("expression", ["map(flags.is_enabled, names)", "partial(flags.variation, 'k')", "flags.all()"])
def test_reading_whatever_flag_is_a_site_without_a_key(expression: str, tmp_path: Path) -> None:
    assert keys(tmp_path, f"from flagmw import flags\n{expression}\n") == [None]


@pytest.mark.parametrize("expression", ['flags.all()["k"].value', 'flags.all().get("k")'])
def test_one_of_all_flags_has_its_key(expression: str, tmp_path: Path) -> None:
    assert keys(tmp_path, f"from flagmw import flags\n{expression}\n") == ["k"]


@pytest.mark.parametrize("package", ["flagmw_django", "flagmw_flask", "flagmw_starlette"])
def test_a_gate_is_a_site(package: str, tmp_path: Path) -> None:
    (site,) = sites_of(
        tmp_path, f'from {package} import require_flag\n@require_flag("k", default=True)\ndef view():\n    pass\n'
    )
    assert (site.flag_key, site.method, site.use, site.default, site.line) == (
        "k",
        "require_flag",
        "decorator",
        "True",
        2,
    )


def test_a_gate_without_a_decorator_is_a_site(tmp_path: Path) -> None:
    source = 'import flagmw_django\nurlpatterns = [path("", flagmw_django.require_flag("k")(view))]\n'
    assert certain(tmp_path, source) == ["k"]


def test_a_gate_of_another_make_is_uncertain(tmp_path: Path) -> None:
    (site,) = sites_of(tmp_path, 'from features import require_flag\n@require_flag("k")\ndef view():\n    pass\n')
    assert not site.is_certain


def test_a_gated_class_is_a_site(tmp_path: Path) -> None:
    source = """
        from flagmw_django import RequireFlagMixin
        class Summary(RequireFlagMixin, View):
            flag_key = "k"
        page = Summary.as_view(flag_key="other")
    """
    assert certain(tmp_path, source) == ["k", "other"]


def test_an_imported_client_is_followed(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/clients.py": "import flagmw\nflag_client = flagmw.configure()\nclient = flag_client\n",
        "app/views.py": 'from app.clients import client\ndef read(user):\n    return client.string("k", user, "plain")\n',
    }
    (site,) = found_in(tmp_path, files).sites
    assert (site.flag_key, site.default, site.is_certain) == ("k", '"plain"', True)


def test_the_default_of_a_client_comes_after_the_user(tmp_path: Path) -> None:
    (site,) = sites_of(tmp_path, 'import flagmw\nflagmw.get_client().variation("k", user, [1,\n  2])\n')
    assert site.default == "[1, 2]"


@pytest.mark.parametrize(
    "name", ["tests/views.py", "app/tests/views.py", "app/test_views.py", "app/tests.py", "conftest.py"]
)
def test_tests_are_left_out(name: str, tmp_path: Path) -> None:
    assert sites_of(tmp_path, 'flags.is_enabled("k")', name) == ()


def test_bad_files_are_reported_and_the_others_read(tmp_path: Path) -> None:
    files = {
        "app/broken.py": "def f(:\n    flags.is_enabled('a')\n",
        "app/views.py": "def f(flags):\n    flags.is_enabled('b')\n",
    }
    code = code_of(tmp_path, files)
    (tmp_path / "app/latin.py").write_bytes(b'x = "\xe9"; flags.is_enabled("c")')
    found = find_call_sites([*code.files, *code_of(tmp_path, {}).files])
    assert {site.flag_key for site in found.sites} == {"b"}
    assert sorted((Path(problem.path).name, problem.line) for problem in found.problems) == [
        ("broken.py", 1),
        ("latin.py", 0),
    ]


def test_other_encodings_are_honoured(tmp_path: Path) -> None:
    code = code_of(tmp_path, {"app/views.py": "", "app/mark.py": ""})
    (tmp_path / "app/views.py").write_bytes('# coding: latin-1\nx = "é"; flags.is_enabled("é")\n'.encode("latin-1"))
    (tmp_path / "app/mark.py").write_bytes(b"\xef\xbb\xbfdef f(flags):\r\n    flags.is_enabled('k')\r\n")
    found = find_call_sites(code)
    assert [(site.flag_key, site.line) for site in found.sites] == [("k", 2), ("é", 2)]
    assert not found.problems


@pytest.mark.parametrize(
    ("template", "key", "method"),
    [
        ('{% load flags %}{% flag "k" %}', "k", "flag"),
        ("{% load flags %}{% flag 'k' default='x' as y %}", "k", "flag"),
        ('{% load i18n flags %}{% ifflag "k" %}{% endifflag %}', "k", "ifflag"),
        ("{% load ifflag from flags %}{% ifflag name %}{% endifflag %}", None, "ifflag"),
        ('{{ flags.string("k") }}', "k", "string"),
        ("{%- if request.flags.is_enabled('k') -%}{% endif %}", "k", "is_enabled"),
        ('{% set x = flags.variation("k", "plain") %}', "k", "variation"),
        ('{{ "a" if flags.is_enabled("k") else "b" }}', "k", "is_enabled"),
        ("{{ flags.variation(name) }}", None, "variation"),
        ("{% for key, one in flags.all().items() %}{% endfor %}", None, "all"),
    ],
)
def test_templates_have_sites(template: str, key: str | None, method: str, tmp_path: Path) -> None:
    if template.startswith("{% load ifflag from"):
        template = template.replace("ifflag from flags", "flags")
    (site,) = sites_of(tmp_path, f"<p>\n  {template}", "templates/page.html")
    assert (site.flag_key, site.method, site.line, site.is_certain) == (key, method, 2, True)


@pytest.mark.parametrize(
    "template",
    [
        '{% load waffle_tags %}{% flag "k" %}new{% else %}old{% endflag %}',
        '{# {% flag "k" %} #}',
        '{% comment %}{{ flags.string("k") }}{% endcomment %}',
        '{% raw %}{{ flags.string("k") }}{% endraw %}',
        "{{ flags.k }}",
        "{% for flag, value in flags %}{{ flag }}{% endfor %}",
        'flags.string("k")',
        '{{ user.string("k") }}',
    ],
)
def test_other_templates_have_none(template: str, tmp_path: Path) -> None:
    assert sites_of(tmp_path, template, "templates/page.html") == ()


def test_tags_of_a_library_that_is_not_loaded_are_uncertain(tmp_path: Path) -> None:
    (site,) = sites_of(tmp_path, '{% ifflag "k" %}{% endifflag %}', "templates/page.html")
    assert not site.is_certain
