"""Measurements, each beside what it is compared with, interleaved in one run."""
