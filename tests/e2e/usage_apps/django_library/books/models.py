from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class BookQuerySet(models.QuerySet["Book"]):
    def readable(self) -> BookQuerySet:
        return self.filter(pages__lt=self._limit())

    def _limit(self, *, factor: int = 100) -> int:
        return 10 * factor

    def lost(self) -> BookQuerySet:
        return self.none()


class Named(models.Model):
    title = models.CharField(max_length=50)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.title


class Book(Named):
    pages = models.IntegerField(default=1)

    objects: ClassVar[Any] = BookQuerySet.as_manager()

    class Meta:
        app_label = "books"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.title = self._tidy(self.title)
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return f"/book/{self.pk}"

    @staticmethod
    def _tidy(title: str) -> str:
        return title.strip()

    @property
    def is_long(self) -> bool:
        return self.pages > 500

    @property
    def is_short(self) -> bool:
        return not self.is_long
