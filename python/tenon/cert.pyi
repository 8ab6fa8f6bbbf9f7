import os
from typing import NamedTuple

class Certificate(NamedTuple):
    subject: str
    issuer: str
    serial: str
    key: str
    signature: str
    usage: str
    limits: str
    fingerprint: str
    pin: str
    names: list[str]
    begins: int
    ends: int
    is_authority: bool
    words: str

def parse(data: bytes, name: str = "certificate") -> list[Certificate]: ...
def read(file: str | os.PathLike[str]) -> list[Certificate]: ...
def new(folder: str | os.PathLike[str], *hosts: str, days: int = 90) -> None: ...
