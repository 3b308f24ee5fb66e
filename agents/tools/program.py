"""A short program of assignments, as a model writes it for a sum, walked over Python's syntax tree. Nothing is run as code.

Lines are `name = expression  # unit`; expressions hold numbers, names assigned above, unit constants (GB, GiB, TFLOPS, ms,
billion …), functions and the formulas of formulas.py, and comparisons. Values are plain numbers in base units.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

from agents.errors import ToolError
from agents.tools.calculate import FUNCTIONS, NUMBERS, OPERATORS, number
from agents.tools.formulas import FORMULAS, apply

MAX_LINES = 25
CONSTANTS: Mapping[str, float] = {
    **NUMBERS,
    "KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
    "TiB": 2.0**40, "GFLOPS": 1e9, "TFLOPS": 1e12, "PFLOPS": 1e15, "us": 1e-6, "ms": 1e-3, "minute": 60.0,
    "minutes": 60.0, "hour": 3600.0, "hours": 3600.0, "day": 86400.0, "days": 86400.0, "week": 604800.0,
    "FP64": 8.0, "FP32": 4.0, "TF32": 4.0, "FP16": 2.0, "BF16": 2.0, "FP8": 1.0, "INT8": 1.0, "INT4": 0.5, "NF4": 0.5,
    "FP4": 0.5, "NVFP4": 0.5,
}  # fmt: skip
_COMPARISONS: dict[type[ast.AST], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_UNITS = {
    "byte": "bytes", "b": "bytes", "bytes": "bytes", "s": "seconds", "sec": "seconds", "secs": "seconds",
    "second": "seconds", "seconds": "seconds", "gb": "GB", "gib": "GiB", "mb": "MB", "mib": "MiB",
}  # fmt: skip
_SKIPPED = re.compile(r"\s*(?:#.*|import\b.*|from\b.*|print\b.*)?$")


@dataclass(frozen=True, slots=True)
class Line:
    """One assignment worked out; `unit` is the word of its comment or of its formula's name."""

    name: str
    expression: str
    value: float | bool
    unit: str = ""


def work(text: str) -> list[Line]:
    """The program's lines with their values, at least one. ToolError names the line that is no arithmetic."""
    names: dict[str, float | bool] = dict(CONSTANTS)
    lines: list[Line] = []
    fenced = re.findall(r"```\w*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    for source in ("\n".join(fenced) or text).splitlines():
        if _SKIPPED.fullmatch(source):
            continue
        if len(lines) == MAX_LINES:
            raise ToolError(f"the program has more than {MAX_LINES} lines")
        code, _, comment = source.partition("#")
        name, expression = _parsed(code.strip())
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in FUNCTIONS:
                node.func.id = _formula(node.func.id, [k.arg for k in node.keywords if k.arg])
        value = _value(expression, names)
        if not name and isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name):
            name = expression.func.id  # a bare call is known by its formula below
        if name:
            names[name] = value
        lines.append(Line(name, ast.unparse(expression), value, _unit(name, expression, comment)))
    if not lines:
        raise ToolError("the program is empty")
    if not any(_works(each.expression) for each in live(lines)):
        raise ToolError("the program works nothing out")
    return lines


def shown(line: Line) -> str:
    """A line's value with its unit: bytes also in GB and GiB, long and short times also in hours or ms."""
    if isinstance(line.value, bool):
        return "yes" if line.value else "no"
    value, unit = line.value, line.unit
    if unit in ("bytes", "GB", "GiB", "MB", "MiB") and abs(value) >= 1e6:  # a slip of small models: bytes, called GB
        return f"{number(value)} bytes ({number(value / 1e9)} GB, {number(value / 2**30)} GiB)"
    if unit == "seconds" and abs(value) >= 120:
        return f"{number(value)} seconds ({number(value / 60)} minutes, {number(value / 3600)} hours)"
    if unit == "seconds" and 0 < abs(value) < 1:
        return f"{number(value)} seconds ({number(value * 1000)} ms)"
    return f"{number(value)} {unit}".strip()


def live(lines: list[Line]) -> list[Line]:
    """The lines that the last one rests on, itself among them."""
    wanted: set[str] = set()
    found: list[Line] = []
    for each in reversed(lines):
        if not found or each.name in wanted:
            found.append(each)
            wanted |= set(re.findall(r"[A-Za-z_]\w*", each.expression))
    return found[::-1]


def used(lines: list[Line]) -> list[str]:
    """The formulas that a program called, in order."""
    called = [name for line in lines for name in re.findall(r"(\w+)\(", line.expression)]
    return [name for name in dict.fromkeys(called) if name in FORMULAS]


def _parsed(code: str) -> tuple[str, ast.expr]:
    plain = re.sub(r"(?<![\w.])(\d{1,3}(?:,\d{3})+)(?![\w,])(?![^()]*\))", lambda m: m[1].replace(",", ""), code)
    plain = plain.replace("math.", "").replace("^", "**")
    try:
        body = ast.parse(plain, mode="exec").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        body = []
    match body:
        case [ast.Assign(targets=[ast.Name(id=name)], value=value)]:
            return name, value
        case [ast.Expr(value=value)]:
            return "", value
    raise ToolError(f"{code[:80]!r} is not an assignment of arithmetic, like `size = 7e9 * 2`")


def _works(expression: str) -> bool:
    """Whether there is anything to do, beyond naming a number or a constant."""
    return any(isinstance(node, ast.BinOp | ast.Compare | ast.Call) for node in ast.walk(ast.parse(expression)))


def _value(node: ast.expr, names: Mapping[str, float | bool], depth: int = 0) -> float | bool:
    if depth > 50:
        raise ToolError("an expression is nested too deeply")

    def inner(part: ast.expr) -> float | bool:
        return _value(part, names, depth + 1)

    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Name(id=name):
            raise ToolError(f"{name!r} has no value: assign it a number of the problem above")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -inner(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return inner(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _guarded(lambda: OPERATORS[type(op)](inner(left), inner(right)), node)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _COMPARISONS[type(op)](inner(left), inner(right))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=named) if name in FORMULAS:
            keywords = {k.arg: inner(k.value) for k in named if k.arg}
            return _guarded(lambda: apply(name, *map(inner, given), **keywords), node)
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS and given:
            return _guarded(lambda: FUNCTIONS[name](*_arguments(name, list(map(inner, given)))), node)
    raise ToolError(f"{ast.unparse(node)[:80]!r} is not arithmetic")


def _formula(name: str, keywords: Sequence[str]) -> str:
    """The formula of that name, or the only one with such arguments: models misremember names sooner than arguments."""
    if name not in FORMULAS:
        same = [n for n, f in FORMULAS.items() if keywords and set(keywords) <= set(signature(f).parameters)]
        if len(same) != 1:
            raise ToolError(f"there is no formula {name!r}: use one of the list, or write the arithmetic out")
        return same[0]
    parameters = signature(FORMULAS[name]).parameters
    if unknown := next((each for each in keywords if each not in parameters), ""):
        raise ToolError(f"{name} has no argument {unknown!r}, it takes {', '.join(parameters)}")
    return name


def _arguments(name: str, given: list[float | bool]) -> list[float | int]:
    return [given[0], int(given[1])] if name == "round" and len(given) == 2 else given


def _guarded(operation: Callable[[], float], node: ast.expr) -> float:
    shown_as = ast.unparse(node)[:80]
    try:
        found = operation()
    except ZeroDivisionError:
        raise ToolError(f"{shown_as!r} divides by zero") from None
    except TypeError as error:
        raise ToolError(f"{shown_as!r}: {error}") from None
    except (OverflowError, ValueError) as error:
        raise ToolError(f"{shown_as!r} cannot be computed: {error}") from None
    if isinstance(found, complex) or not math.isfinite(found):
        raise ToolError(f"{shown_as!r} is no finite number")
    return float(found)


def _unit(name: str, expression: ast.expr, comment: str) -> str:
    """The unit that a comment begins with, else that the formula's or the line's own name ends with."""
    said = re.match(r"\s*(?:in |as )?([A-Za-z%]+(?: per \w+)?)", comment)
    if said:
        return _UNITS.get(said[1].lower(), said[1] if len(said[1]) <= 24 else "")
    called = expression.func.id if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) else ""
    named = called if called in FORMULAS else name
    return "" if "_per_" in named or "_" not in named else _UNITS.get(named.lower().rsplit("_", 1)[-1], "")
