"""What may happen in a therapeutic relationship, and what must not."""
