"""`python -m cli` is `fusion`, wherever its script may lie."""

from cli.main import main

main()
