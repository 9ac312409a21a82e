"""The command line `rapport`: everything an operator does, one file per kind of work.

`terminal.py` says where commands write and how they fail; docs/guide/command-line.md is for people.
"""

from api.cli.main import command_line, main

__all__ = ["command_line", "main"]
