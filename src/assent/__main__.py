"""`python -m assent`, and so `torchrun -m assent`: the same as `assent`."""

from assent.cli.main import main

if __name__ == "__main__":
    main()
