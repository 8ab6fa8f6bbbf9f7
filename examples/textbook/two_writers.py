import itertools
import socket
import threading

one, other = socket.socketpair()
for letter in (b"a", b"b"):
    threading.Thread(target=one.sendall, args=(letter * 10000000,), daemon=True).start()
received = b""
while len(received) < 20000000:
    received += other.recv(1000000)
pieces = len(list(itertools.groupby(received)))
print("two messages arrived", "whole" if pieces == 2 else "mixed")
