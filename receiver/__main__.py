"""`python -m receiver` and the `receiver` command."""

from receiver.cli import main

if __name__ == "__main__":
    main()
