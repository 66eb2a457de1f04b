"""Counts lines of code: those with a token that is neither comment nor docstring.

    python tests/code_size.py            the table of parts, and the longest functions

`test_layout.py` holds the limits.
"""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> set[int]:
    """Numbers of the lines of `text` that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        lines -= _docstring(node)
    return lines


def _docstring(node: ast.AST) -> set[int]:
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return set()
    found: set[int] = set()
    for statement in body:  # a string after a field documents it, as a docstring does
        value = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return found


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Each function of `text` with the number of code lines in its body, without its header."""
    lines = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            span = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
            yield node.name, len(lines.intersection(span))


def parts() -> dict[str, list[Path]]:
    """The files of each part that has a limit of its own."""
    ours = SOURCE / "perceptune"
    of_backends = (ours / "commands" / "compare.py", ours / "figures" / "comparison.py")
    found: dict[str, list[Path]] = {"nn": [], "backends": [], "perceptune": [], "sweeper": []}
    for path in sorted(SOURCE.rglob("*.py")):
        if ours not in path.parents:
            found["sweeper"].append(path)
        elif ours / "nn" in path.parents:
            found["nn"].append(path)
        elif ours / "backends" in path.parents or path in of_backends:
            found["backends"].append(path)
        else:
            found["perceptune"].append(path)
    return found


def main() -> None:
    """Print the table."""
    longest = []
    for name, files in parts().items():
        texts = {path: path.read_text("utf-8") for path in files}
        bodies = [
            (size, f"{path.relative_to(SOURCE)}:{function}")
            for path, text in texts.items()
            for function, size in functions(text)
        ]
        lines = sum(len(code_lines(text)) for text in texts.values())
        middle = statistics.median(size for size, _ in bodies)
        print(f"{name:12} {lines:6,} lines  {len(bodies):4} functions, median body {middle:g}")
        longest += bodies
    for size, where in sorted(longest, reverse=True)[:10]:
        print(f"{size:4}  {where}")


if __name__ == "__main__":
    main()
