from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from django_library.books.models import Book

COUNTS = {"finished": 0, "saved": 0}


def finished(sender: object, **kwargs: Any) -> None:
    COUNTS["finished"] += 1


@receiver(post_save, sender=Book)
def saved(sender: object, instance: Book, **kwargs: Any) -> None:
    COUNTS["saved"] += 1


@receiver(post_delete, sender=Book)
def deleted(sender: object, **kwargs: Any) -> None:
    COUNTS["saved"] -= 1
