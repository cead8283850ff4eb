"""The expression language of `expect`: a part of Python's, evaluated without Python's reach.

An expression reads facts and computes; it can do nothing else. `a.b` is the value under the key "b" of the
mapping a, never an attribute of an object, so there are no methods and nothing to escape to. Calls reach a
fixed handful of functions. The facts come out of a container and are hostile: the work that an evaluation
may do, and the size of what it builds, are bounded.

An author writes: literals, names, `a.b`, `a["b"]`, `a[0]`, `a[1:]`, and, or, not, comparisons (`is` only
with None, True and False), arithmetic without `**`, bit operations, `x if c else y`, lists, tuples, sets,
dicts, comprehensions, and calls of FUNCTIONS and of the public functions of harness/declared.py.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

from harness.observation import escaped
from harness.values import MAX_SHOWN, Weights, shown, size

# Under these names stand the values of a check; a loop variable cannot take one of them.
ROOTS = ("inside", "host", "host_after", "config", "canary", "container", "start", "environment")


def _sum(numbers: Iterable[Any]) -> Any:
    """sum() of numbers only: beginning with a list it copies that again for each list that is added."""
    return sum(numbers)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "all": all,
    "any": any,
    "len": len,
    "set": set,
    "sorted": sorted,
    "min": min,
    "max": max,
    "sum": _sum,
    "abs": abs,
}

MAX_LENGTH = 4000  # characters of an expression
MAX_DEPTH = 40  # levels of its syntax tree
MAX_WORK = 1_000_000  # nodes evaluated, plus elements of what is built
SHARE = 16  # elements of a value that are gone through in the time in which one node is evaluated
LIGHT = 64  # the same of what they hold, which are compared only where all before them is equal
MAX_BITS = 1024  # of an integer

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Display = ast.List | ast.Tuple | ast.Set | ast.Dict
Reading = ast.Name | ast.Attribute | ast.Subscript | ast.Slice
Computing = ast.Constant | ast.BoolOp | ast.UnaryOp | ast.BinOp | ast.Compare | ast.IfExp | ast.Call
Marking = ast.Load | ast.Store | ast.boolop | ast.operator | ast.unaryop | ast.cmpop
LANGUAGE = Comprehension | Display | Reading | Computing | Marking | ast.comprehension | ast.keyword

# What authors try and the language lacks, in their words.
LACKING: dict[type[ast.AST], str] = {
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "`:=`",
    ast.Starred: "`*` before a value",
    ast.Pow: "`**`",
    ast.MatMult: "`@`",
}

# What computing with values of the wrong kind raises.
RAISED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

Names = Mapping[str, Any]


class ExpressionError(ValueError):
    """A text that is no expression of the language; the message is one sentence without a position."""


class EvaluationError(Exception):
    """An expression that has no value over these facts; the message says which part and why."""


class MissingName(EvaluationError):
    """A name, key or index that is not there; the message begins with its path, as `inside.mounts.table`."""


@lru_cache(maxsize=4096)
def parse(text: str) -> ast.expr:
    """The syntax tree of an expression; raises ExpressionError if it is not one of the language."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of "\d" and `1if` the parser only warns; both are mistakes
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        rest = (error.text or "")[max(error.offset or 1, 1) - 1 :][:20].strip()
        near = f", at {escaped(rest)!r}" if rest else ""
        raise ExpressionError(f"the expression does not parse: {error.msg}{near}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise ExpressionError(f"the expression does not parse: {reason}") from None
    for node in ast.walk(tree):  # first of all: no message could show a longer one
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
            raise ExpressionError(f"an integer of more than {MAX_BITS} bits")
    _require_allowed(tree, 0)
    return tree


def _require_allowed(node: ast.AST, depth: int) -> None:
    """Raise ExpressionError for whatever is not in the language; on the way, bound the depth of the tree."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the expression is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(node, LANGUAGE) or type(node) in LACKING:
        name = LACKING.get(type(node), type(node).__name__)
        raise ExpressionError(f"{name} is not part of the language")
    children = list(ast.iter_child_nodes(node))
    match node:
        case ast.Constant(value=value) if not isinstance(value, str | int | float | None):
            raise ExpressionError(f"{value!r} is not part of the language")
        case ast.Attribute(attr=name) if name.startswith("_"):
            raise ExpressionError(f"{name!r} begins with an underscore; such names are out of reach")
        case ast.Compare(ops=ops, comparators=sides):
            for comparison, side in zip(ops, sides, strict=True):
                if isinstance(comparison, ast.Is | ast.IsNot) and not _is_singleton(side):
                    raise ExpressionError("`is` compares only with None, True and False; write ==")
        case ast.Tuple(elts=parts) if any(isinstance(part, ast.Slice) for part in parts):
            raise ExpressionError("several slices at once are not part of the language")
        case ast.Dict(keys=keys) if None in keys:
            raise ExpressionError("`**` in a dict is not part of the language")
        case ast.keyword(arg=None):
            raise ExpressionError("`**` before an argument is not part of the language")
        case ast.GeneratorExp():
            raise ExpressionError("a generator is always true; put it into brackets, or into all() or any()")
        case ast.comprehension(is_async=1):
            raise ExpressionError("async is not part of the language")
        case ast.comprehension(target=target):
            _loop_variables(target)
        case ast.Call():
            _require_function(node.func)
            children = list(node.keywords)
            for argument in node.args:
                is_loop = isinstance(argument, ast.GeneratorExp)
                children.extend(ast.iter_child_nodes(argument) if is_loop else [argument])
    for child in children:
        _require_allowed(child, depth + 1)


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _loop_variables(target: ast.expr) -> frozenset[str]:
    match target:
        case ast.Name(id=name):
            if name in ROOTS:
                raise ExpressionError(f"{name!r} stands for the facts and cannot be a loop variable")
            return frozenset([name])
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return frozenset().union(*map(_loop_variables, elements))
    raise ExpressionError(f"{source(target)} cannot be a loop variable")


def _require_function(called: ast.expr) -> None:
    if not isinstance(called, ast.Name):
        raise ExpressionError(f"{source(called)} cannot be called: there are functions, but no methods")
    try:
        _function(called.id)
    except KeyError:
        raise ExpressionError(f"there is no function {called.id!r}") from None


def _function(name: str) -> Callable[..., Any]:
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    from harness import declared  # only the expression that needs it pays for it

    function = vars(declared)[name]
    if isinstance(function, FunctionType) and function.__module__ == declared.__name__ and name[0] != "_":
        return function
    raise KeyError(name)


def names(text: str) -> set[str]:
    """What an expression reads: the longest dotted prefix of each chain, as `inside.mounts.table`.

    `a["b"]` counts as `a.b`; a chain ends before a key that is computed or is no identifier. Loop variables
    are not among the names. Raises ExpressionError.
    """
    return set(_free_names(parse(text), frozenset()))


def _free_names(node: ast.AST, bound: frozenset[str]) -> Iterator[str]:
    if name := dotted(node):
        if name.split(".")[0] not in bound:
            yield name
    elif isinstance(node, Comprehension):
        for generator in node.generators:
            yield from _free_names(generator.iter, bound)
            bound |= _loop_variables(generator.target)
            for test in generator.ifs:
                yield from _free_names(test, bound)
        for element in elements(node):
            yield from _free_names(element, bound)
    elif isinstance(node, ast.Call):
        for argument in [*node.args, *node.keywords]:
            yield from _free_names(argument, bound)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _free_names(child, bound)


def dotted(node: ast.AST) -> str | None:
    """The dotted name that a node is, or None if it is anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=key):
            prefix = dotted(inner)
            return prefix and f"{prefix}.{key}"
        case ast.Subscript(value=inner, slice=ast.Constant(value=str(key))) if key.isidentifier():
            prefix = dotted(inner)
            return prefix and f"{prefix}.{key}"
    return None


def elements(node: Comprehension) -> list[ast.expr]:
    """What a comprehension computes in each turn; of a dict, key and value."""
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]


def source(node: ast.expr) -> str:
    """A part of an expression, in Python's own spelling."""
    return escaped(ast.unparse(node), MAX_SHOWN)


def evaluate(text: str, scope: Names) -> Any:
    """The value of an expression over the facts in `scope`.

    Raises ExpressionError, MissingName for what is not there, and EvaluationError for what cannot be
    computed.
    """
    return Evaluation().value(parse(text), scope)


class Evaluation:
    """Evaluates syntax trees with one budget of work."""

    def __init__(self, budget: int = MAX_WORK) -> None:
        self.budget = budget
        self.work = 0
        self.weights = Weights()

    def value(self, node: ast.expr, names: Names) -> Any:
        self.spend(1)
        try:
            return self.computed(node, names)
        except RAISED as error:
            raise EvaluationError(f"{source(node)}: {escaped(str(error), MAX_SHOWN)}") from None

    def computed(self, node: ast.expr, names: Names) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.item(node, names, name)
            case ast.Attribute(value=inner, attr=key):
                mapping = self.value(inner, names)
                if not isinstance(mapping, dict):
                    raise TypeError(f"{source(inner)} is {shown(mapping)} and has no {key!r}")
                return self.item(node, mapping, key)
            case ast.Subscript(value=inner, slice=ast.Slice() as cut):
                ends = [part and self.value(part, names) for part in (cut.lower, cut.upper, cut.step)]
                return self.built(self.value(inner, names)[slice(*ends)])
            case ast.Subscript(value=inner, slice=key):
                return self.item(node, self.value(inner, names), self.value(key, names))
            case ast.BoolOp(op=connective, values=operands):
                decisive = isinstance(connective, ast.Or)
                for operand in operands:
                    value = self.value(operand, names)
                    if bool(value) is decisive:
                        break
                return value
            case ast.UnaryOp(op=sign, operand=operand):
                return UNARY[type(sign)](self.value(operand, names))
            case ast.BinOp(op=operation, left=left, right=right):
                return self.binary(type(operation), self.value(left, names), self.value(right, names))
            case ast.Compare(left=left, ops=signs, comparators=others):
                before = self.value(left, names)
                for comparison, other in zip(signs, others, strict=True):
                    after = self.value(other, names)
                    self.look_at(before, after)
                    result = COMPARE[type(comparison)](before, after)
                    if not result:
                        break
                    before = after
                return result
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if self.value(test, names) else otherwise, names)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
                values = [self.value(argument, names) for argument in arguments]
                self.look_at(*values)
                named = {str(keyword.arg): self.value(keyword.value, names) for keyword in keywords}
                return self.built(_function(name)(*values, **named))
            case ast.List(elts=elements):
                return self.built([self.value(element, names) for element in elements])
            case ast.Tuple(elts=elements):
                return self.built(tuple(self.value(element, names) for element in elements))
            case ast.Set(elts=elements):
                return self.built({self.value(element, names) for element in elements})
            case ast.Dict(keys=keys, values=contents):
                pairs = zip(keys, contents, strict=True)
                return self.built({self.value(key, names): self.value(content, names) for key, content in pairs if key})
            case ast.ListComp(elt=element, generators=loops):
                return self.built([self.value(element, inner) for inner in self.turns(loops, names)])
            case ast.SetComp(elt=element, generators=loops):
                return self.built({self.value(element, inner) for inner in self.turns(loops, names)})
            case ast.GeneratorExp(elt=element, generators=loops):
                return (self.value(element, inner) for inner in self.turns(loops, names))
            case ast.DictComp(key=key, value=content, generators=loops):
                turns = self.turns(loops, names)
                return self.built({self.value(key, inner): self.value(content, inner) for inner in turns})
        raise AssertionError(f"parse() let {ast.dump(node)} pass")

    def item(self, node: ast.expr, container: Any, key: Any) -> Any:
        try:
            return container[key]
        except KeyError:
            keys = escaped(", ".join(sorted(map(str, container))), MAX_SHOWN)
            sentence = f"the keys there are {keys}" if keys else "nothing is there"
        except IndexError:
            sentence = f"there are {len(container)} elements"
        raise MissingName(f"{source(node)} is missing: {sentence}")

    def binary(self, sign: type[ast.operator], left: Any, right: Any) -> Any:
        """The result of an arithmetic operation, after making sure that it does not grow without bound."""
        if sign is ast.Mod and isinstance(left, str):
            raise TypeError("a text cannot be formatted with %")
        if sign is ast.LShift and isinstance(right, int) and right > MAX_BITS:
            raise OverflowError(f"a shift by more than {MAX_BITS} bits")
        if sign is ast.Mult:
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int):
                    self.spend(size(many) * max(times, 0))
        else:
            self.spend(size(left) + size(right))
        return self.built(BINARY[sign](left, right))

    def turns(self, loops: list[ast.comprehension], names: Names) -> Iterator[Names]:
        """The names of each turn of the loops of a comprehension."""
        if not loops:
            yield names
            return
        for element in self.value(loops[0].iter, names):
            self.spend(1)
            inner = {**names, **_assigned(loops[0].target, element)}
            if all(self.value(test, inner) for test in loops[0].ifs):
                yield from self.turns(loops[1:], inner)

    def built(self, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise OverflowError(f"an integer of more than {MAX_BITS} bits")
        self.look_at(value)
        return value

    def look_at(self, *values: Any) -> None:
        """Pay for going through all that values hold, as who compares them does."""
        self.spend(sum(map(size, values)) // SHARE + sum(map(self.weights.of, values)) // LIGHT)

    def spend(self, work: int) -> None:
        self.work += work
        if self.work > self.budget:
            raise EvaluationError(f"the expression takes more than {self.budget} steps")


def _assigned(target: ast.expr, value: Any) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: value}
    assert isinstance(target, ast.Tuple | ast.List)  # parse() made sure of it
    values = list(value)
    if len(values) != len(target.elts):
        raise ValueError(f"{shown(value)} does not fall into {len(target.elts)} parts")
    assigned: dict[str, Any] = {}
    for variable, part in zip(target.elts, values, strict=True):
        assigned |= _assigned(variable, part)
    return assigned
