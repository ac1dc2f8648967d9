"""Entry of the ``controlplane`` program."""

from controlplane.cli.main import run


def main() -> None:
    """Run the command line."""
    run()


if __name__ == "__main__":
    main()
