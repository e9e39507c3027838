"""A cell of a wide table, which a narrow screen shows as a card a row."""

from html import escape


def cell(column: str, content: str) -> str:
    """A cell that holds its column's name for screens that have no room for the heading.

    Args:
        column: the heading, as plain text.
        content: HTML.
    """
    return f'<td data-label="{escape(column)}"><div>{content}</div></td>'
