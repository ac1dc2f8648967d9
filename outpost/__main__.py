"""Entry of the `outpost` program."""

import os


def main() -> None:
    """Run the command line."""
    # gRPC's C core writes lines of its own to standard error, which holds one JSON object a line; it reads this once.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - the library has no other switch
    from outpost.cli.main import run

    run()


if __name__ == "__main__":
    main()
