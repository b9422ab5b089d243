"""`python -m jpst` is `jpst`."""

from jpst.cli import main

if __name__ == "__main__":
    main()
