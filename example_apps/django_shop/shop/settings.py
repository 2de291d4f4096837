"""Settings of the shop. It needs no database: a signed cookie holds the session."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY", "for this demo only")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
TIME_ZONE = "UTC"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

INSTALLED_APPS = [
    "flagmw_django",
    "shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "flagmw_django.FlagMiddleware",
]

FLAGMW = {
    "FLAG_FILE": BASE_DIR / "flags.yaml",
    "USER": "shop.users.build",
    "USAGE": BASE_DIR / "pyproject.toml",  # which functions still run, which flags may go: flagmw usage report
}

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request", "shop.users.in_every_template"],
        },
    },
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"]},
    "loggers": {"flagmw": {"level": "INFO"}, "django.request": {"level": "ERROR"}},
}
