"""The end of gpu_check.sh: a table of its parts, and what of the goals falls short. Exits with 1 where a part failed.

python benchmarks/gpu_report.py FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

# Exit codes: pytest's 5 (nothing to run), timeout's 124 and 137, and the shell's 127.
STATES = {0: "passed", 5: "nothing to run", 124: "out of time", 137: "out of time", 127: "not installed"}


def main(folder: Path) -> int:
    failed = False
    print("\n| part | state | seconds | |\n| --- | --- | --- | --- |")
    for line in (folder / "parts.txt").read_text().splitlines():
        name, code, seconds = line.split()
        log = (folder / f"{name}.txt").read_text(errors="replace")
        state, about = state_of(int(code), log)
        failed |= state in ("failed", "out of time")
        print(f"| {name} | {state} | {seconds} | {about} |")
    short = []
    for path in sorted(folder.glob("ops-*.json")):
        results = json.loads(path.read_text())
        if "copy_gb_per_second" in results:
            print(f"\n{results['device']}: a copy moves {results['copy_gb_per_second']:.0f} GB/s")
        short += [f"{path.stem}: {text}" for text in results["shortfalls"]]
    if (table := folder / "compare-fashion.json").exists():
        from benchmarks.fashion_goals import shortfalls
        from genpipe.comparison import Comparison

        short += [f"compare-fashion: {text}" for text in shortfalls(Comparison.read(table))]
    print("\nfalls short:\n  " + "\n  ".join(short) if short else "\nnothing measured falls short of its goal")
    return int(failed)


def state_of(code: int, log: str) -> tuple[str, str]:
    """In a word, and the line of the log that says most."""
    lines = [line for line in log.strip().splitlines() if line.strip()]
    summary = next((line.strip("= ") for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")
    missing = re.findall(r"No module named '([\w.]+)'", log)
    if code in (2, 4) and missing:
        return "not run", f"{missing[-1]} is not installed"
    if code == 5 and missing:
        return "not run", ", ".join(sorted(set(missing))) + " not installed"
    return STATES.get(code, "failed"), summary or (lines[-1][:100] if lines and code else "")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
