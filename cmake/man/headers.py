# SPDX-License-Identifier: Apache-2.0
"""What a public header says: its top comment, its types and its functions, each with the comment before it.

Of a comment's text, the first line may be a head, `name[, name]... - summary`. The rest is paragraphs. A paragraph may have
fields, such as "Thread: any.  Fails: INVAL."; lines that stand further in than the text are kept as they are. In the top
comment, "Example:" is followed by an example, and the fields of the paragraph "Unless a call says otherwise" hold for
every function that does not have them itself.
"""

import re

FIELDS = ("Thread", "Progress", "Owner", "Fails")
FIELD = re.compile(r"(?:^|(?<=[.):]) +)(Thread|Progress|Owner|Fails(?: also)?):\s+")
HEAD = re.compile(r"^((?:weir_\w+|WEIR_\w+)(?:, (?:weir_\w+|WEIR_\w+))*) - (.*)", re.S)
DEFAULTS = "Unless a call says otherwise"
TOKEN = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|\s+|\w+|.", re.S)


class Problem(Exception):
    """A declaration that is not understood."""


class Text:
    """A comment: its head, and paragraphs of ("text" | "literal" | field name, text)."""

    def __init__(self, comment=""):
        lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in comment[2:-2].strip("*").split("\n")]
        lines[0] = lines[0].lstrip()
        body = "\n".join(lines).strip("\n ")
        self.names, self.summary, self.paragraphs = [], "", []
        first, _, rest = body.partition("\n\n")
        match = HEAD.match(first)
        if match and "\n  " not in first:
            self.names = match.group(1).split(", ")
            summary = fields_of(" ".join(match.group(2).split()))
            self.summary = summary[0][1] if summary and summary[0][0] == "text" else ""
            self.paragraphs = summary[1 if self.summary else 0:]
            body = rest
        for paragraph in re.split(r"\n\n+", body):
            self.add(paragraph)

    def add(self, paragraph):
        """A paragraph's lines, in runs of text, of literal lines, and of fields with what goes on below them."""
        run, kind = [], "text"
        field = False

        def flush():
            if not run:
                return
            if kind == "literal":
                if self.paragraphs and self.paragraphs[-1][0] == "literal":
                    run.insert(0, "")
                    run.insert(0, self.paragraphs.pop()[1])
                self.paragraphs.append(("literal", "\n".join(run)))
            else:
                self.paragraphs.extend(fields_of(" ".join(" ".join(run).split())))

        for line in paragraph.split("\n"):
            field = bool(FIELD.search(line)) or (field and line.startswith(" "))
            now = "literal" if line.startswith("  ") and not field else "text"
            if now != kind:
                flush()
                run, kind = [], now
            run.append(line)
        flush()

    def field(self, name):
        return " ".join(text for kind, text in self.paragraphs if kind == name)

    def same_as(self):
        """Does it say that all is as another function's?"""
        return any(kind == "text" and re.search(r"\b[Aa]s weir_\w+\(\)", text)
                   for kind, text in [("text", self.summary)] + self.paragraphs)

    def prose(self):
        return " ".join([self.summary] + [text for kind, text in self.paragraphs if kind != "literal"])

    def __bool__(self):
        return bool(self.summary or self.paragraphs)


def fields_of(line):
    """("text" or a field's name, text) for each part of a line."""
    parts, name, begin = [], "text", 0
    for match in FIELD.finditer(line):
        parts.append((name, line[begin:match.start()].strip()))
        name, begin = match.group(1), match.end()
    parts.append((name, line[begin:].strip()))
    return [part for part in parts if part[1]]


class Function:
    def __init__(self, declaration):
        flat = " ".join(declaration.split())
        match = re.match(r"(?:static inline |WEIR_\w+ )*(.*?)(weir_\w+)\((.*?)\)\s*[;{]?$", flat)
        if not match:
            raise Problem(f"a function is declared in a form that is not understood: {flat}")
        self.result, self.name, arguments = (group.strip() for group in match.groups())
        self.arguments = split_arguments(arguments)
        self.must_check = "WEIR_MUST_CHECK" in flat

    def can_fail(self):
        return self.must_check or self.result in ("int", "int64_t")


class Type:
    """A struct, an enum, or a typedef of a function. fields: [(declaration, comment)]; None: shown as it is."""

    def __init__(self, kind, name, text, fields=None):
        self.kind, self.name, self.text, self.fields = kind, name, text, fields


class Macro:
    def __init__(self, name, arguments, value):
        self.name, self.arguments, self.value = name, arguments, value


class Header:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")
        self.top, self.title = Text(), ""
        self.items = []  # in order: (Text, [Function, ...]), (Text, Type), or a section's title
        self.macros = {}
        self.problems = []  # what could not be understood
        self.read()
        self.example = self.take_example()
        self.defaults = self.take_defaults()

    def functions(self):
        """(comment, function) in order."""
        return [(text, function) for text, thing in self.things() if isinstance(thing, list) for function in thing]

    def calls(self):
        """The names that a program calls: functions, and macros in the form of functions."""
        return [function.name for _, function in self.functions()] + [macro.name for macro in self.call_macros()]

    def call_macros(self):
        return [thing for _, thing in self.things() if isinstance(thing, Macro) and thing.name.startswith("weir_")]

    def things(self):
        """(comment, what it is about) in order."""
        return [item for item in self.items if not isinstance(item, str)]

    def read(self):
        comments = []  # of the block that is being read
        documented = None
        for kind, text in split(self.text):
            if kind == "blank":
                comments, documented = [], None
            elif kind == "comment":
                section = re.fullmatch(r"/\* -+ (.*?) -+ \*/", text)
                if section:
                    self.items.append(section.group(1))
                else:
                    documented = Text(text)
                    comments.append(documented)
                    if not self.title and f"weir/{self.name}.h - " in text:
                        self.take_top(text)
                        comments, documented = [], None
            else:
                try:
                    self.declared(kind, text, documented or Text())
                except Problem as problem:
                    self.problems.append(str(problem))

    def take_top(self, comment):
        self.top = Text(comment)
        first = self.top.paragraphs.pop(0)[1]
        self.title = first.partition(" - ")[2]

    def declared(self, kind, text, documented):
        if kind == "macro":
            self.macro(text, documented)
        elif re.match(r"WEIR_(UCX_)?API\b", text) or text.startswith("static inline "):
            function = Function(text)
            if function.name.endswith("_"):
                return
            last = self.items[-1] if self.items else None
            if isinstance(last, tuple) and last[0] is documented and isinstance(last[1], list):
                last[1].append(function)
            else:
                self.items.append((documented, [function]))
        elif text.startswith("typedef "):
            name = re.search(r"(weir_\w+)\(", text)
            if not name:
                raise Problem(f"not understood: {text}")
            self.items.append((documented, Type("typedef", name.group(1), text)))
        elif re.match(r"(struct|enum) \w+\s*\{", text):
            kind, name = text.split()[:2]
            if name.endswith("_"):
                return
            self.items.append((documented, Type(kind, name, text, members(text, self.macros))))
        elif re.match(r"struct \w+;$", text):
            if documented and not documented.names and "{" not in text and documented.paragraphs:
                self.items.append((documented, Type("opaque", text[:-1].split()[1], text)))
        elif not re.match(r"WEIR_(BEGIN|END)_DECLS|WEIR_DEFINE_\w+_\(", text):
            raise Problem(f"not understood: {text[:80]}")

    def macro(self, text, documented):
        match = re.match(r"#\s*define (\w+)(\([^)]*\))?\s*(.*)", text.replace("\\\n", "\n"), re.S)
        if not match or match.group(1).startswith("X") or match.group(1).endswith(("_", "_H")):
            return
        name, arguments, body = match.group(1), match.group(2) or "", match.group(3)
        remark = re.search(r"/\*(.*?)\*/\s*$", body, re.S)
        self.macros[name] = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
        if re.match(r"WEIR_(BEGIN|END)_DECLS|WEIR_(UCX_)?API$|WEIR_MUST_CHECK", name):
            return
        if not documented and remark:
            documented = Text(f"/* {remark.group(1)} */")
        value = " ".join(self.macros[name].split()) if not arguments else ""
        self.items.append((documented, Macro(name, arguments, value)))

    def take_example(self):
        """The literal text behind "Example:" in the top comment, and what is given to it: (given, code)."""
        paragraphs = self.top.paragraphs
        for index, (kind, text) in enumerate(paragraphs):
            match = re.fullmatch(r"Example(?:, given (.*))?:", text) if kind == "text" else None
            if match:
                if index + 1 == len(paragraphs) or paragraphs[index + 1][0] != "literal":
                    self.problems.append("no example stands behind Example:")
                    return None
                example = (match.group(1) or "", dedent(paragraphs[index + 1][1]))
                del paragraphs[index:index + 2]
                return example
        return None

    def take_defaults(self):
        defaults, inside, kept = {}, False, []
        for kind, text in self.top.paragraphs:
            if kind == "text":
                inside = text.startswith(DEFAULTS)
            if inside and kind in FIELDS:
                defaults[kind] = text
            elif not inside:
                kept.append((kind, text))
        self.top.paragraphs = kept
        return defaults


def split(text):
    """The header as ("comment" | "macro" | "code" | "blank", text), without conditions and includes."""
    found, token, depth = [], "", 0
    lines = text.split("\n")
    index = 0
    skipping = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if skipping:
            skipping += line.startswith("#if") - line.startswith("#endif")
            continue
        if not token and not depth:
            if not line.strip():
                found.append(("blank", ""))
                continue
            if line.startswith("#"):
                while line.endswith("\\"):
                    line += "\n" + lines[index]
                    index += 1
                while line.count("/*") > line.count("*/"):
                    line += "\n" + lines[index]
                    index += 1
                if line.startswith("#ifdef __cplusplus"):
                    skipping = 1
                elif re.match(r"#\s*define", line):
                    found.append(("macro", line))
                continue
            if line.startswith("/*"):
                while not line.rstrip().endswith("*/"):
                    line += "\n" + lines[index]
                    index += 1
                found.append(("comment", line))
                continue
        token = token + "\n" + line if token else line
        bare = re.sub(r"/\*.*?\*/|#[^\n]*", "", token, flags=re.S)
        depth = bare.count("{") - bare.count("}")
        whole = bare.rstrip().endswith((";", "}")) or re.fullmatch(r"WEIR_\w+(\([^)]*\))?\s*", bare)
        if depth == 0 and whole and token.count("/*") == token.count("*/"):
            code = token
            if code.startswith("static inline"):
                code = code[:code.index("{")]
            found.append(("code", code))
            token = ""
    return found


def members(text, macros):
    """(declaration, comment) of each member of a struct or an enum, macros with one row for each member written out."""
    body = expand(text[text.index("{") + 1:text.rindex("}")], macros)
    separator = ";" if text.startswith("struct") else ","
    found, before, part, depth, gap = [], "", "", 0, ""
    for token in TOKEN.findall(body):
        if token.startswith("/*"):
            comment = " ".join(re.sub(r"\n\s*\*? ", " ", token[2:-2]).split())
            if part.strip():  # the last of an enum, which has no separator
                found.append([part, before])
                part, before = "", ""
            if "\n" in gap or not found:
                before = f"{before} {comment}".strip()
            else:
                found[-1][1] = f"{found[-1][1]} {comment}".strip()
            gap = ""
            continue
        if token.isspace():
            gap = token
            part += " "
            continue
        depth += (token in "({") - (token in ")}")
        if token == separator and not depth:
            found.append([part, before])
            part, before = "", ""
        else:
            part += token
        gap = ""
    if part.strip():
        found.append([part, before])
    return [(re.sub(r"\(([A-Z0-9]+)\)$", r"\1", re.sub(r"\s+", " ", declaration).strip()), comment)
            for declaration, comment in found]


def expand(body, macros):
    """Write out `#define X(name, help) ...`, NAME(X), `#undef X`."""
    lines, parameters, template = [], [], ""
    for line in body.split("\n"):
        define = re.match(r"#define X\(([^)]*)\) (.*)", line)
        use = re.match(r"\s*(WEIR_\w+)\(X\)", line)
        if define:
            parameters, template = define.group(1).split(", "), define.group(2)
        elif use:
            for row in rows(macros[use.group(1)]):
                values = dict(zip(parameters, row))
                code = re.sub(r"\w+", lambda match: values.get(match.group(), match.group()), template)
                help_text = row[-1].strip('"') if row[-1].startswith('"') else ""
                lines.append(code.replace("##", "") + (f" /* {help_text} */" if help_text else ""))
        elif not line.startswith("#undef"):
            lines.append(line)
    return "\n".join(lines)


def rows(body):
    """The arguments of each X(...) of a macro."""
    return [split_arguments(match.group(1))
            for match in re.finditer(r"X\(((?:\"[^\"]*\"|\([^)]*\)|[^()\"])*)\)", body)]


def split_arguments(text):
    """`a, "b, c", d` as a list; none for void."""
    found, part, depth, quoted = [], "", 0, False
    for letter in " ".join(text.split()):
        quoted ^= letter == '"'
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth and not quoted:
            found.append(part.strip())
            part = ""
        else:
            part += letter
    found.append(part.strip())
    return [] if found in ([""], ["void"]) else found


def dedent(text):
    lines = text.split("\n")
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines)
