import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.sendto(b"Hello, world!", ("127.0.0.1", int(sys.argv[1])))
    data, address = client.recvfrom(1024)
    print(f"received {data.decode()!r}")
