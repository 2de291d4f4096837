from django.db import models


class BookQuerySet(models.QuerySet):
    def readable(self):
        return self.filter(pages__lt=self._limit())

    def _limit(self, *, factor=100):
        return 10 * factor

    def lost(self):
        return self.none()


class Named(models.Model):
    title = models.CharField(max_length=50)

    class Meta:
        abstract = True

    def __str__(self):
        return self.title


class Book(Named):
    pages = models.IntegerField(default=1)
    objects = BookQuerySet.as_manager()

    class Meta:
        app_label = "books"

    def save(self, *args, **kwargs):
        self.title = self._tidy(self.title)
        super().save(*args, **kwargs)

    def get_absolute_url(self):
        return f"/book/{self.pk}"

    @staticmethod
    def _tidy(title):
        return title.strip()

    @property
    def is_long(self):
        return self.pages > 500

    @property
    def is_short(self):
        return not self.is_long
