"""One self-contained HTML page about one run or many.

    python tools/report.py work_dirs/quickstart --out report.html
"""

import argparse
import sys
from collections.abc import Sequence

from kdzoo.errors import UserError
from kdzoo.tools.command import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and print the table; 2 and one line on stderr for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="kdzoo-report", description="Write one HTML page about finished runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, of several seeds or of a study")
    parser.add_argument("--out", default="report.html", help="the page to write (default: report.html)")
    arguments = parser.parse_args(argv)

    from kdzoo.report import read_groups, text_table, write_report

    try:
        out = write_report(arguments.runs, arguments.out)
        print(text_table(read_groups(arguments.runs)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
