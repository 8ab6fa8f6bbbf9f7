import socket
import threading
import time

one, other = socket.socketpair()
one.settimeout(60)
for letter in (b"a", b"b"):
    threading.Thread(target=one.sendall, args=(letter * 4000000,), daemon=True).start()
time.sleep(2)  # the buffer is full: both wait
received = bytearray()
while len(received) < 8000000:
    received += other.recv(65536)
print("two messages arrived", "mixed" if b"ab" in received and b"ba" in received else "whole")
