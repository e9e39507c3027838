"""What runs wrote, as one page for the browser and one table for the terminal.

    >>> from kdzoo.report import read_groups, text_table, write_report
    >>> print(text_table(read_groups(["work_dirs/quickstart"])))
    >>> write_report(["work_dirs/quickstart"], "report.html")
"""

from kdzoo.report.groups import Group, read_groups
from kdzoo.report.page import write_report
from kdzoo.report.run import Run
from kdzoo.report.text import text_table

__all__ = ["Group", "Run", "read_groups", "text_table", "write_report"]
