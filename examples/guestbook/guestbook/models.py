from django.db import models


class Entry(models.Model):
    """What a guest wrote."""

    name = models.CharField(max_length=80)
    message = models.TextField(max_length=2000)
    picture = models.BinaryField(null=True)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-written",)
