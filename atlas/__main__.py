"""`python -m atlas`: the command, where its script is not on the path."""

from atlas.cli import main

if __name__ == "__main__":
    main()
