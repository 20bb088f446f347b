"""`python -m admit` is `admit`."""

from admit.cli import main

if __name__ == "__main__":
    main()
