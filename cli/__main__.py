"""`python -m cli` is `hermes`."""

from cli.main import main

main()
