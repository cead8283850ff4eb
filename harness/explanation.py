"""Why an expression has the value that it has: the source and the value of each part that matters.

Of a conjunction only the operand that fails is shown, of a failing all() the first element that fails, of
two sets the members that only one of them has. What is shown is short and escaped: the facts come out of a
container.
"""

import ast
from typing import Any

from harness.expression import (
    MAX_WORK,
    RAISED,
    Comprehension,
    Evaluation,
    EvaluationError,
    Names,
    elements,
    parse,
    source,
)
from harness.values import shown

MAX_COMPARED = 1000  # elements of two collections whose difference is shown
BUDGET = 4 * MAX_WORK  # for all parts together; each is evaluated anew

Part = tuple[str, str]


def explain(text: str, scope: Names) -> list[Part]:
    """Source and shown value of each part that decides the result, from the outside in."""
    explanation = _Explanation()
    explanation.explain(parse(text), scope)
    return list(explanation.parts)


class _Explanation:
    def __init__(self) -> None:
        self.parts: dict[Part, None] = {}  # a dict for its order
        self.evaluation = Evaluation(BUDGET)

    def explain(self, node: ast.expr, names: Names) -> None:
        match node:
            case ast.Constant():
                pass
            case ast.BoolOp(op=connective, values=operands):
                deciding = [operand for operand in operands if self.decides(connective, operand, names)]
                for operand in deciding[:1] or operands:
                    self.explain(operand, names)
            case ast.UnaryOp(operand=operand):
                self.explain(operand, names)
            case ast.Compare(left=left, ops=signs, comparators=others):
                for side in (left, *others):
                    self.explain(side, names)
                if [type(sign) for sign in signs] == [ast.Eq]:
                    self.note_difference(left, others[0], names)
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                self.explain(test, names)
                self.explain(body if self.truth(test, names) else otherwise, names)
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.GeneratorExp():
                self.explain_children(node, names)
            case ast.Call(func=ast.Name(id=function)) if self.note_turn(function, node.args, names):
                pass
            case _:
                self.note(node, names)
                if not _is_chain(node):
                    self.explain_children(node, names)

    def explain_children(self, node: ast.expr, names: Names) -> None:
        children: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, Comprehension):
            children = [node.generators[0].iter]  # all else depends on the turn
        elif isinstance(node, ast.Call):
            children = [*node.args, *(keyword.value for keyword in node.keywords)]
        for child in children:
            if isinstance(child, ast.expr) and not isinstance(child, ast.Slice):
                self.explain(child, names)

    def decides(self, connective: ast.boolop, operand: ast.expr, names: Names) -> bool:
        """Whether an operand alone settles an `and` (it is false) or an `or` (it is true), or has no value."""
        return self.truth(operand, names) in (isinstance(connective, ast.Or), None)

    def truth(self, node: ast.expr, names: Names) -> bool | None:
        try:
            return bool(self.evaluation.value(node, names))
        except EvaluationError:
            return None

    def note(self, node: ast.expr, names: Names) -> None:
        try:
            value = shown(self.evaluation.value(node, names))
        except EvaluationError as error:
            value = f"({error})"
        self.parts[source(node), value] = None

    def note_turn(self, function: str, arguments: list[ast.expr], names: Names) -> bool:
        """Explain the first turn that decides an all() or any(); False if there is none."""
        if function not in ("all", "any") or not arguments or not isinstance(arguments[0], Comprehension):
            return False
        loop = arguments[0]
        evaluation = self.evaluation
        element = elements(loop)[0]
        try:
            for inner in evaluation.turns(loop.generators, names):
                if bool(evaluation.value(element, inner)) is (function == "any"):
                    for variable in inner.keys() - names.keys():
                        self.parts[variable, shown(inner[variable])] = None
                    self.explain(element, inner)
                    return True
        except (EvaluationError, *RAISED):
            pass  # the call is noted instead, and its value says what is wrong
        return False

    def note_difference(self, left: ast.expr, right: ast.expr, names: Names) -> None:
        try:
            values: list[Any] = [self.evaluation.value(side, names) for side in (left, right)]
        except EvaluationError:
            return
        if not all(isinstance(value, set | list) and 1 < len(value) < MAX_COMPARED for value in values):
            return
        for side, mine, others in ((left, *values), (right, *reversed(values))):
            only = [element for element in mine if element not in others]
            if 0 < len(only) < len(mine):
                self.parts[f"only in {source(side)}", shown(type(mine)(only))] = None


def _is_chain(node: ast.expr) -> bool:
    """Whether a node is a name with keys that are not computed: its value says all."""
    match node:
        case ast.Attribute(value=inner) | ast.Subscript(value=inner, slice=ast.Constant()):
            return _is_chain(inner)
    return isinstance(node, ast.Name)
