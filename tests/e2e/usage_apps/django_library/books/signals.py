from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from django_library.books.models import Book

COUNTS = {"finished": 0, "saved": 0}


def finished(sender, **kwargs):
    COUNTS["finished"] += 1


@receiver(post_save, sender=Book)
def saved(sender, instance, **kwargs):
    COUNTS["saved"] += 1


@receiver(post_delete, sender=Book)
def deleted(sender, **kwargs):
    COUNTS["saved"] -= 1
