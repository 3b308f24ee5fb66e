"""Arithmetic with units: numbers, units and a few functions, walked over Python's syntax tree. Nothing is evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from agents.errors import ToolError

MAX_CHARS = 300
_MAX_EXPONENT = 1000

# Decimal and binary prefixes, information, time, work, money; counts have no dimension but keep their name.
_UNITS = """
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
peta- = 1e15 = P-
exa- = 1e18 = E-
milli- = 1e-3 = m-
micro- = 1e-6 = u-
nano- = 1e-9 = n-
kibi- = 1024 = Ki-
mebi- = 1024**2 = Mi-
gibi- = 1024**3 = Gi-
tebi- = 1024**4 = Ti-
bit = [information]
byte = 8 * bit = B
second = [time] = s = sec
minute = 60 * second = min
hour = 3600 * second = h
day = 24 * hour
week = 7 * day
year = 365 * day
FLOP = [operation] = FLOP = flop
FLOPS = FLOP / second = FLOPS
watt = [power] = W
dollar = [money] = USD
token = []
parameter = [] = param
request = []
sample = []
step = []
layer = []
"""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "log": math.log, "ln": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp,
    "ceil": math.ceil, "floor": math.floor, "abs": abs, "round": round, "min": min, "max": max,
}  # fmt: skip


def _power(base: Any, exponent: Any) -> Any:
    if abs(_plain(exponent)) > _MAX_EXPONENT:
        raise ToolError(f"an exponent beyond {_MAX_EXPONENT}")
    return operator.pow(base, exponent)


OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
}  # fmt: skip
NUMBERS = {
    "pi": math.pi, "e": math.e, "percent": 0.01, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12,
}  # fmt: skip
# "7e9 B in GiB": what follows the last "in" or "to" is the unit asked for.
_TARGET = re.compile(r"\s(?:in|to|as)\s+([A-Za-z/% ]+)$")


def calculate(expression: str) -> str:
    """The expression with its value, as `7e9 * 2 B = 14 GB (13.04 GiB)`.

    ToolError, worded for whoever wrote the expression, on anything but arithmetic, unknown units, units that do not
    fit, and results without end.
    """
    asked = " ".join(expression.replace("×", "*").replace("·", "*").replace("÷", "/").replace("−", "-").split())
    if not asked:
        raise ToolError("the expression is empty")
    if len(asked) > MAX_CHARS:
        raise ToolError(f"the expression is longer than {MAX_CHARS} characters")
    target = _TARGET.search(asked)
    body = asked[: target.start()] if target else asked
    value = _value(_parsed(body))
    return f"{asked} = {_shown(value, target[1].strip() if target else '')}"


def quantity(expression: str) -> Any:
    """The value as a pint quantity. ToolError as above."""
    return _registry().Quantity(_value(_parsed(expression)))


def _parsed(text: str) -> ast.expr:
    text = text.replace("^", "**").replace("$", " dollar ").replace("%", " percent ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)|(?<=\d)_(?=\d)", "", text)  # thousands
    text = re.sub(r"\s+of\s+", " * ", text)
    # A unit after a number belongs to it: in "1000 / 20 s" the seconds are below the line too.
    text = re.sub(r"(?<![\w.])((?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?+)\s*([A-Za-z]\w*+)(?!\s*\()", _bound, text)
    text = re.sub(r"\)\s*(?=[A-Za-z])", ")*", text)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(f"{text.strip()!r} is not arithmetic. Write it like (7e9 * 2 B) in GiB") from None


def _bound(match: re.Match[str]) -> str:
    return f"({match[1]}*{match[2]})"


def _value(node: ast.expr, depth: int = 0) -> Any:
    if depth > 50:
        raise ToolError("the expression is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name):
            return NUMBERS[name] if name in NUMBERS else _unit(name)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _guarded(lambda: OPERATORS[type(op)](_value(left, depth + 1), _value(right, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS and given:
            return _call(name, [_value(a, depth + 1) for a in given])
    raise ToolError(f"{ast.unparse(node)!r} is not arithmetic. Known functions: {', '.join(FUNCTIONS)}")


def _call(name: str, given: list[Any]) -> Any:
    if name in ("min", "max", "abs"):
        return _guarded(lambda: FUNCTIONS[name](*given))
    if name == "round" and len(given) == 2:
        return _guarded(lambda: round(_plain(given[0]), int(_plain(given[1]))))
    if name in ("ceil", "floor", "round") and len(given) == 1 and not isinstance(given[0], float):
        return _guarded(lambda: given[0].__class__(float(FUNCTIONS[name](given[0].magnitude)), given[0].units))
    return _guarded(lambda: float(FUNCTIONS[name](*map(_plain, given))))


def _plain(value: Any) -> float:
    """A number without a unit."""
    return float(value) if isinstance(value, float | int) else float(_guarded(lambda: value.to("").magnitude))


def _guarded(work: Callable[[], Any]) -> Any:
    from pint import DimensionalityError

    try:
        found = work()
    except DimensionalityError as error:
        raise ToolError(f"units do not fit: {error}. B means bytes: write 7e9 for seven billion") from None
    except ZeroDivisionError:
        raise ToolError("a division by zero") from None
    except (OverflowError, ValueError, TypeError) as error:
        raise ToolError(f"cannot be computed: {error}") from None
    number = found if isinstance(found, float | int) else found.magnitude
    if isinstance(number, complex) or not math.isfinite(number):
        raise ToolError("the result is no finite number")
    return found


def _unit(name: str) -> Any:
    from pint import UndefinedUnitError

    for spelled in dict.fromkeys((name, name.removesuffix("s"), name.lower(), name.lower().removesuffix("s"))):
        try:
            return _registry().Quantity(1.0, spelled)
        except (UndefinedUnitError, ValueError, AssertionError):
            continue
    raise ToolError(f"unknown unit or name {name!r}")


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(None, cache_folder=None)
    for line in _UNITS.strip().splitlines():
        registry.define(line)
    return registry


def _shown(value: Any, target: str) -> str:
    if target:
        if target in ("%", "percent"):
            return f"{number(_plain(value) * 100)} %"
        unit = _value(_parsed("1 " + target))
        value = value if not isinstance(value, float) else _registry().Quantity(value)
        if isinstance(unit, float):
            raise ToolError(f"{target!r} is not a unit")
        return f"{number(_guarded(lambda: value.to(unit.units).magnitude))} {target}"
    if isinstance(value, float):
        return number(value)
    if value.check("[information]**2"):
        raise ToolError("bytes times bytes: B means bytes. Write 7e9 for seven billion")
    if value.check("[power] * [time]"):
        return f"{number(value.to('kilowatt * hour').magnitude)} kWh"
    if value.check("[information]"):
        size = float(value.to("byte").magnitude)
        decimal = _scaled(size, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))
        return (
            decimal if size < 1000 else f"{decimal} ({_scaled(size, 1024, ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'))})"
        )
    if value.check("[time]"):
        seconds = float(value.to("second").magnitude)
        for name, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
            if abs(seconds) >= length:
                return f"{number(seconds)} s ({number(seconds / length)} {name}s)"
        return f"{number(seconds)} s" if abs(seconds) >= 1 or not seconds else f"{number(seconds * 1000)} ms"
    return f"{number(value.magnitude)} {value.units:~}".strip()


def _scaled(size: float, step: int, names: tuple[str, ...]) -> str:
    power = min(len(names) - 1, int(math.log(abs(size), step) + 1e-12)) if abs(size) >= 1 else 0
    return f"{number(size / step**power)} {names[power]}"


def number(value: float) -> str:
    """Six significant digits, with commas from ten thousand on."""
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.6g}"
    digits = max(0, 6 - len(str(int(abs(value))))) if abs(value) >= 1 else 6
    text = f"{value:,.{digits}f}" if abs(value) >= 10000 else f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
