import socket
import sys

message = b"x" * int(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.sendall(message)
    reply = client.recv(1024)
    print("sent", len(message), "bytes, received", len(reply))
