from django.apps import AppConfig
from django.core.signals import request_finished


class BooksConfig(AppConfig):
    name = "django_library.books"

    def ready(self):
        from django_library.books import signals

        request_finished.connect(signals.finished)
