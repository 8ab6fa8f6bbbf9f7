"""The small mistakes that can be planted in a C file, found in clang's syntax tree. See scripts/mutation."""
import bisect
import dataclasses
import hashlib
import re

from clang.cindex import CursorKind as K, TokenKind, TranslationUnit

# Operators, and what they are mistaken for
EXCHANGED = {
    "<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"], "<<": [">>"], ">>": ["<<"],
    "&&": ["||"], "||": ["&&"], "|": ["&"], "&": ["|"],
    "+=": ["-="], "-=": ["+="], "|=": ["="], "&=": ["|="], "<<=": [">>="], ">>=": ["<<="], "*=": ["/="], "/=": ["*="],
}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
DROPPED = ("&&", "||", "|", "&")  # operators of which one side is forgotten
OPPOSITE = {"true": "false", "false": "true"}
ERRNO = re.compile(r"E[A-Z0-9]+$")
ERROR = re.compile(r"TN_E[A-Z0-9]+$")
# Calls that change nothing but what is told with -v
SKIPPED_CALLS = re.compile(r"tni_log\s*\(\s*false\b")

LOOPS = (K.WHILE_STMT, K.DO_STMT, K.FOR_STMT)
JUMPS = {K.RETURN_STMT: "return", K.BREAK_STMT: "break", K.CONTINUE_STMT: "continue", K.GOTO_STMT: "goto"}
WRAPPERS = (K.UNEXPOSED_EXPR, K.PAREN_EXPR)


@dataclasses.dataclass
class Mistake:
    path: str
    function: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str
    id: str = ""

    def planted(self, source):
        """The file's bytes with this mistake. It keeps its number of lines, which assertions contain."""
        lost = self.before.count("\n") - self.after.count("\n")
        return source[:self.start] + self.after.encode() + b"\n" * lost + source[self.end:]


class File:
    def __init__(self, index, root, path, arguments):
        self.path, self.source, self.found, self.function = path, (root / path).read_bytes(), [], ""
        unit = index.parse(str(root / path), args=arguments, options=TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD)
        errors = [str(told) for told in unit.diagnostics if told.severity >= 3]
        if errors:
            raise ValueError(f"clang does not understand {path}: {errors[0]}")
        own = [cursor for cursor in unit.cursor.get_children() if self.is_own(cursor, root)]
        self.macros = sorted((c.extent.start.offset, c.extent.end.offset, c.spelling) for c in own
                             if c.kind == K.MACRO_INSTANTIATION)
        self.starts = [macro[0] for macro in self.macros]
        for cursor in own:
            if cursor.kind == K.FUNCTION_DECL and cursor.is_definition():
                self.function = cursor.spelling
                self.in_function(cursor)
        self.name()

    @staticmethod
    def is_own(cursor, root):
        return cursor.location.file is not None and cursor.location.file.name.startswith(str(root)) and \
            cursor.location.file.name == cursor.translation_unit.spelling

    # Text

    def text(self, start, end):
        return self.source[start:end].decode(errors="replace")

    def of(self, cursor):
        return self.text(cursor.extent.start.offset, cursor.extent.end.offset)

    def macro_around(self, cursor):
        """The name of the macro that the whole of the cursor comes from, or None: its text is not in this file."""
        start, end = cursor.extent.start.offset, cursor.extent.end.offset
        place = bisect.bisect_right(self.starts, start) - 1
        # One macro may stand in the arguments of another, which began before
        while place >= 0 and start - self.macros[place][0] < 4000:
            if self.macros[place][1] >= end:
                return self.macros[place][2]
            place -= 1
        return None

    def add(self, kind, start, end, after):
        before = self.text(start, end)
        if before.strip() != after.strip():
            line = self.source.count(b"\n", 0, start) + 1
            self.found.append(Mistake(self.path, self.function, line, kind, start, end, before, after))

    def change(self, kind, cursor, after):
        self.add(kind, cursor.extent.start.offset, cursor.extent.end.offset, after)

    def name(self):
        """A name that stays when other parts of the file change."""
        seen = {}
        self.found.sort(key=lambda m: (m.start, m.end, m.after))
        for m in self.found:
            key = (m.path, m.function, m.before, m.after)
            seen[key] = seen.get(key, 0) + 1
            m.id = hashlib.sha256("\0".join([*key, str(seen[key])]).encode()).hexdigest()[:10]

    # The tree

    def in_function(self, function):
        body = [c for c in function.get_children() if c.kind == K.COMPOUND_STMT]
        if body and not self.macro_around(function):
            self.statement_list(body[0])
            self.visit(body[0], None)
            start, end = body[0].extent.start.offset, body[0].extent.end.offset
            for at, until, macro in self.macros:
                if start <= at and until <= end and macro in OPPOSITE and not self.inside_another(at, until):
                    self.add("constant", at, until, OPPOSITE[macro])

    def inside_another(self, start, end):
        return any(at <= start and end <= until and (at, until) != (start, end) for at, until, _ in self.macros)

    def visit(self, cursor, parent):
        if cursor.kind == K.STATIC_ASSERT or self.macro_around(cursor):
            return
        if cursor.kind == K.CALL_EXPR and SKIPPED_CALLS.match(self.of(cursor)):
            return
        children = list(cursor.get_children())
        visitor = {
            K.IF_STMT: self.in_if, K.CONDITIONAL_OPERATOR: self.in_choice, K.BINARY_OPERATOR: self.in_binary,
            K.COMPOUND_ASSIGNMENT_OPERATOR: self.in_binary, K.UNARY_OPERATOR: self.in_unary,
            K.INTEGER_LITERAL: self.in_number, K.DECL_REF_EXPR: self.in_name,
        }.get(cursor.kind, self.in_loop if cursor.kind in LOOPS else None)
        if visitor:
            visitor(cursor, children, parent)
        if cursor.kind == K.COMPOUND_STMT and parent is not None:
            self.statement_list(cursor)
        if cursor.kind == K.CASE_STMT:
            children = children[1:]  # its constant is no number to be wrong by one
        if cursor.kind in (K.CASE_STMT, K.DEFAULT_STMT, K.LABEL_STMT) and children:
            self.removal(children[-1])
        for child in children:
            self.visit(child, cursor)

    # Conditions

    def bare(self, cursor):
        """Without parentheses and conversions."""
        while cursor.kind in WRAPPERS:
            inner = list(cursor.get_children())
            if len(inner) != 1 or self.macro_around(cursor):
                break
            cursor = inner[0]
        return cursor

    def operator(self, cursor):
        """The operator of a binary expression, and where it stands; libclang of this age does not tell."""
        children = list(cursor.get_children())
        if cursor.kind not in (K.BINARY_OPERATOR, K.COMPOUND_ASSIGNMENT_OPERATOR) or len(children) != 2:
            return None, 0
        start, end = children[0].extent.end.offset, children[1].extent.start.offset
        between = self.text(start, end)
        word = re.sub(r"/\*.*?\*/", "", between, flags=re.S).strip()
        return (word, start + between.find(word)) if word in EXCHANGED or word == "=" else (None, 0)

    def negated_by_itself(self, cursor):
        """A condition that is a negation or a comparison for equality: dropping or exchanging that negates it."""
        cursor = self.bare(cursor)
        return cursor.kind == K.UNARY_OPERATOR and self.of(cursor).startswith("!") or \
            self.operator(cursor)[0] in ("==", "!=")

    def condition(self, cursor, always):
        if self.macro_around(cursor) or not self.negated_by_itself(cursor):
            self.change("condition negated", cursor, f"!({self.of(cursor)})")
        if always:
            self.change("condition always", cursor, "1")
        self.change("condition never", cursor, "0")

    def in_if(self, cursor, children, _parent):
        self.condition(children[0], True)
        if len(children) == 3:
            self.add("branch removed", children[1].extent.end.offset, children[2].extent.end.offset,
                     "" if children[1].kind == K.COMPOUND_STMT else ";")
            self.removal(children[1])

    def in_choice(self, _cursor, children, _parent):
        self.condition(children[0], True)

    def in_loop(self, cursor, children, _parent):
        body = children[0] if cursor.kind == K.DO_STMT else children[-1]
        condition = children[1] if cursor.kind == K.DO_STMT else children[0] if cursor.kind == K.WHILE_STMT else \
            self.for_condition(cursor, children)
        if condition is not None and self.of(condition) not in ("1", "true", "0", "false"):
            self.condition(condition, False)
        self.removal(body)

    def for_condition(self, cursor, children):
        """What stands between the two semicolons: libclang leaves out the parts that are not there."""
        at, depth, semicolons = cursor.extent.start.offset, 0, []
        for token in cursor.get_tokens():
            if token.kind == TokenKind.PUNCTUATION:
                depth += (token.spelling in "([{") - (token.spelling in ")]}")
                if token.spelling == ";" and depth == 1:
                    semicolons.append(token.extent.start.offset)
                if len(semicolons) == 2 or depth == 0 and token.extent.start.offset > at + 4:
                    break
        if len(semicolons) != 2:
            return None
        return next((c for c in children[:-1] if semicolons[0] < c.extent.start.offset < semicolons[1]), None)

    # Expressions

    def in_binary(self, cursor, children, _parent):
        word, at = self.operator(cursor)
        if word not in EXCHANGED:
            return
        for other in EXCHANGED[word]:
            self.add("comparison" if word in COMPARISONS else "operator", at, at + len(word), other)
        if word in DROPPED:
            left, right = children
            if self.operator(self.bare(left))[0] != word:
                self.change("operand dropped", cursor, self.of(right))
            self.change("operand dropped", cursor, self.of(left))

    def in_unary(self, cursor, children, _parent):
        text = self.of(cursor)
        operand = self.of(children[0])
        if text.startswith(("++", "--")) or text.endswith(("++", "--")):
            other = {"+": "--", "-": "++"}
            prefix = text.startswith(("++", "--"))
            self.change("operator", cursor, other[text[0]] + operand if prefix else operand + other[text[-1]])
        elif text.startswith(("!", "~", "-")):
            self.change("negation dropped", cursor, operand)
            if text.startswith("-") and ERRNO.match(operand):
                self.change("error replaced", cursor, "0")

    def in_name(self, cursor, _children, _parent):
        if ERROR.match(self.of(cursor)):
            self.change("error replaced", cursor, "0")

    def in_number(self, cursor, _children, parent):
        text = self.of(cursor)
        match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", text)
        behind = self.text(cursor.extent.end.offset, cursor.extent.end.offset + 1)
        if not match or parent is not None and parent.kind in (K.VAR_DECL, K.FIELD_DECL) and behind == "]":
            return
        octal = len(match[1]) > 1 and match[1][0] == "0" and match[1][1] not in "xX"
        value = int(match[1], 8 if octal else 0)
        write = hex if match[1][:2] in ("0x", "0X") else (lambda n: f"0{n:o}") if octal else str
        for other in (value + 1, value - 1):
            if other >= 0:
                self.change("constant", cursor, write(other) + match[2])

    # Statements

    def is_simple(self, cursor):
        """An expression for its effect: a call, an assignment."""
        if self.macro_around(cursor) or SKIPPED_CALLS.match(self.of(cursor)):
            return False
        inner = self.bare(cursor)
        if inner.kind == K.CSTYLE_CAST_EXPR and self.of(inner).startswith("(void)"):
            children = [c for c in inner.get_children() if c.kind != K.TYPE_REF]
            inner = self.bare(children[-1]) if children else inner
        text = self.of(inner)
        return inner.kind in (K.CALL_EXPR, K.COMPOUND_ASSIGNMENT_OPERATOR) or self.operator(inner)[0] == "=" or \
            inner.kind == K.UNARY_OPERATOR and (text.startswith(("++", "--")) or text.endswith(("++", "--")))

    def independent(self, first, second):
        """Two assignments without calls, neither of which reads what the other writes."""
        texts = [self.of(self.bare(cursor)) for cursor in (first, second)]
        written = [re.split(r"[-+|&]?=|\+\+|--", text)[0].strip() for text in texts]
        return not any("(" in text for text in texts) and written[0] not in texts[1] and written[1] not in texts[0]

    def removal(self, cursor):
        if self.is_simple(cursor) or cursor.kind in JUMPS and not self.macro_around(cursor):
            self.change("statement removed", cursor, "")

    def statement_list(self, cursor):
        statements = list(cursor.get_children())
        for statement in statements:
            self.removal(statement)
        for first, second in zip(statements, statements[1:]):
            if self.is_simple(first) and self.is_simple(second) and not self.independent(first, second):
                between = self.text(first.extent.end.offset, second.extent.start.offset)
                self.add("statements swapped", first.extent.start.offset, second.extent.end.offset,
                         self.of(second) + between + self.of(first))
