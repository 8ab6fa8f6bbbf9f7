import socket
import sys
import time

deaf, loud = (socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(2))  # neither reads
loud.settimeout(2)
try:
    for _ in range(200):
        loud.sendall(b"x" * 99999 + b"\n")
    print("the server took all", flush=True)
except TimeoutError:
    print("the server stands still", flush=True)
time.sleep(60)
