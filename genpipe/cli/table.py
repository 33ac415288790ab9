"""Tables of evaluations, in the terminal."""
from genpipe.runs import Run
def print_tables(run: Run) -> None:
    pass
