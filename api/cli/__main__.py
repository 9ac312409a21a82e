"""`python -m api.cli`: the command line without its entry point."""

from api.cli import main

main()
