"""Tests of bytes, keys, hashes and processes."""
