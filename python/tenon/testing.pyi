from collections.abc import Callable
from typing import Any

from typing_extensions import Self

from . import Conn, Loop

class Server:
    url: str
    port: int | None
    received: list[Any]
    errors: list[BaseException]
    loop: Loop
    def __init__(self, url: str, on_msg: Callable[[Conn, Any], object] | None = None, **callbacks: Any) -> None: ...
    def stop(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None: ...

class Relay(Server):
    target: str
    delay: float
    jitter: float
    lose: float
    cut_after: int | None
    passed: list[tuple[str, bytes]]
    def __init__(
        self,
        target: str,
        listen: str = "tcp://127.0.0.1:0",
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        lose: float = 0.0,
        cut_after: int | None = None,
        seed: int = 1,
    ) -> None: ...

tenon_server: Callable[[], Callable[..., Server]]
tenon_relay: Callable[[], Callable[..., Relay]]
tenon_record: Callable[[], Callable[..., Relay]]
