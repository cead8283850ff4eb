"""The command `isoproof`, from where it is called: a bundle that has been run before needs next to nothing loaded."""

import os
import sys


def main() -> int:
    """Run the command and return its exit status."""
    if sys.platform == "linux":  # elsewhere it cannot even be loaded
        from harness.runtime import quick

        status = quick.run(sys.argv[1:])
        if status is not None:
            os._exit(status)  # nothing is buffered, and to take the interpreter down would take as long as a container
    from harness import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
