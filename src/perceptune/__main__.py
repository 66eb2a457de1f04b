"""`python -m perceptune` is the command `perceptune`."""

from perceptune.cli import main

main()
