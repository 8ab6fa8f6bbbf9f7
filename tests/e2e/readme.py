"""Types what a README or the tutorial says into a shell, block after block, and compares what is printed with what is
shown.

A block of ```console has lines that are typed (`$ `, or `# ` for root) and below each what it prints. `...` stands for
anything, within a line or as a line for any lines. Ports, times, process numbers and the like may differ. A command
that does not end (a server in the foreground) keeps its terminal; what follows is typed in a second one, in the same
folder. A command must succeed unless an error of tenon is shown below it. A block of ```c or ```python is the file
whose name stands before it, if that is a name of such a file.
"""
import dataclasses
import os
import pathlib
import re
import select
import signal
import subprocess
import time

# What may differ from one day, machine or run to the next; both sides are put into these words before they are compared
VOLATILE = [
    (r"^ *\d+(?= +\d+ +tenon)", "PID"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b.*\b20\d\d\b", "DATE"),
    (r"\b20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?UTC|Z)?)?", "DATE"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b\d+ (passed|skipped)\b", r"N \1"),
    (r"\b\d+(\.\d+)? ?(ns|us|ms|s|min)\b", "TIME"),
    (r"\b\d+(\.\d+)? ?(days|hours|minutes)\b", "TIME"),
    (r"\b\d+(\.\d+)?([ ,]?\d{3})* ?[kKMG]?(i?B/s|msg/s|messages a second|bit/s|/s)", "RATE"),
    (r"(?<=[\d\]*]):\d{4,5}\b", ":PORT"),
    (r"\b\d{5}\b", "PORT"),
    (r"\(\d{1,7}\)", "(PID)"),
    (r"\bpid=\d+", "pid=PID"),
    (r"\b[0-9a-f]{8}\b", "HEX"),
    (r"\s+", " "),
]


@dataclasses.dataclass
class Command:
    line: int  # in the README, from 1
    text: str
    shown: list


@dataclasses.dataclass
class Source:
    line: int
    name: str
    text: str


SUFFIXES = {"c": ".c", "python": ".py"}


def read(path):
    """The commands and sources of a document, a list for each block."""
    blocks, inside, name = [], None, ""
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if inside is None:
            if line.startswith("```"):
                inside, rows, first = line[3:].strip(), [], number + 1
            elif names := re.findall(r"`([\w./-]+\.(?:c|py))`", line):
                name = names[-1]
        elif line.startswith("```"):
            if inside == "console":
                blocks.append(commands_of(rows, first))
            elif inside in SUFFIXES and name.endswith(SUFFIXES[inside]):
                blocks.append([Source(first, name, "\n".join(rows) + "\n")])
            inside = None
        else:
            rows.append(line)
    return blocks


def commands_of(rows, first):
    found = []
    for number, row in enumerate(rows, first):
        if row.startswith(("$ ", "# ")):
            found.append(Command(number, row[2:], []))
        elif found and row.startswith("> "):
            found[-1].text += "\n" + row[2:]
        elif found:
            found[-1].shown.append(row)
        else:
            raise ValueError(f"line {number}: output without a command: {row}")
    return found


def plain(line):
    for pattern, word in VOLATILE:
        line = re.sub(pattern, word, line)
    return line.strip()


def pattern_of(shown):
    """A pattern for all that is printed, in the words of plain()."""
    parts = []
    for line in shown:
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(plain(piece)) for piece in line.split("...")).replace(r"\ ", " ?") +
                         " *\n")
    return re.compile("".join(parts))


def fits(shown, printed, any_order=False):
    """any_order: something else writes to the terminal as well, and nobody knows when."""
    lines = [plain(line) + "\n" for line in printed.splitlines()]
    if pattern_of(shown).fullmatch("".join(lines)):
        return True
    if not any_order or "..." in (line.strip() for line in shown) or len(lines) != len(shown):
        return False
    for line in shown:
        found = next((i for i, other in enumerate(lines) if pattern_of([line]).fullmatch(other)), None)
        if found is None:
            return False
        del lines[found]
    return True


class Shell:
    """bash, which reads what is typed from a descriptor of its own: what it runs has an empty input. Ctrl-C works in
    it, though a shell that starts something in the background has it ignored."""

    LOOP = ("while IFS= read -r -d '' typed <&{fd}; do eval \"$typed\" {fd}<&- </dev/null; "
            "printf '\\001%s %s\\001' $? \"$PWD\"; done")

    def __init__(self, prefix=(), folder=None, env=None):
        reader, self.typing = os.pipe()
        self.process = subprocess.Popen([*prefix, "bash", "-c", self.LOOP.format(fd=reader)], pass_fds=[reader],
                                        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        os.close(reader)
        self.printed = ""

    def type(self, text):
        self.printed = ""
        os.write(self.typing, text.encode() + b"\0")

    def wait(self, enough, limit):
        """Reads until enough(printed, ended) or the time is up."""
        deadline = time.monotonic() + limit
        while not enough(*self.state()):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return False
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return False
            self.printed += data.decode(errors="replace")
        return True

    def state(self):
        """What was printed, and (status, folder) once the command has ended."""
        ended = re.search("\1(\\d+) ([^\1]*)\1", self.printed)
        return re.sub("\1[^\1]*\1", "", self.printed), (int(ended[1]), ended[2]) if ended else None

    def close(self):
        os.close(self.typing)
        self.process.stdout.close()
        try:
            self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.process.terminate()
        self.process.wait()


class Typist:
    """`shell(folder)` starts a shell; `put(folder, name, text)` saves a file where that shell finds it."""

    def __init__(self, shell, put, folder, limit=30):
        self.new_shell, self.put, self.folder, self.limit = shell, put, folder, limit
        self.terminals, self.faults = [shell(folder)], []
        self.background = False

    def fault(self, command, why, printed=""):
        printed = "".join(f"\n    | {line}" for line in printed.splitlines()[-40:])
        self.faults.append(f"line {command.line}: {command.text}: {why}{printed}")

    def type(self, command, last=True):
        shell = self.terminals[-1]
        self.background = self.background or command.text.endswith("&")

        def as_shown(printed):
            return fits(command.shown, printed, self.background)
        shell.type(command.text)
        shell.wait(lambda printed, ended: ended or command.shown and as_shown(printed), self.limit)
        if shell.state()[1]:  # what runs in the background may need a moment more
            shell.wait(lambda printed, ended: as_shown(printed), 5)
        else:
            shell.wait(lambda printed, ended: ended, 2 if last else self.limit)
        printed, ended = shell.state()
        if not as_shown(printed):
            self.fault(command, "what it prints is not what is shown", printed)
        if not ended and last and command.shown:  # a server in the foreground: it keeps this terminal
            self.terminals.append(self.new_shell(self.folder))
        elif not ended:
            self.fault(command, f"has not ended after {self.limit} s", printed)
            self.terminals.append(self.new_shell(self.folder))
        else:
            status, self.folder = ended
            if status != 0 and not any(line.startswith("tenon: ") for line in command.shown):
                self.fault(command, f"exit status {status}", printed)

    def all(self, blocks):
        for block in blocks:
            for piece in block:
                if isinstance(piece, Source):
                    self.put(self.folder, piece.name, piece.text)
                else:
                    self.type(piece, last=piece is block[-1])

    def close(self):
        for shell in self.terminals:
            shell.close()
