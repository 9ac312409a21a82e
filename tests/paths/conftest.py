"""Whole paths start from a practice behind its doors, furnished through them."""

from tests.api.conftest import house, new_practice, practice

__all__ = ["house", "new_practice", "practice"]
