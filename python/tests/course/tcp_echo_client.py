import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
    client.connect(("127.0.0.1", int(sys.argv[1])))
    client.sendall(b"Hello, world!")
    data = client.recv(1024)
    print(f"received {data.decode()!r}")
