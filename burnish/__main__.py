"""`python -m burnish`."""

from burnish.cli.main import entry

if __name__ == "__main__":
    entry()
