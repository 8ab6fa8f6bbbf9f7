import socket
import sys
import time

clients = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
time.sleep(2)  # all are there at once
answered = 0
for client in clients:
    client.settimeout(5)
    try:
        client.sendall(b"hello")
        answered += client.recv(1024) == b"hello"
    except OSError:
        pass
    client.close()  # makes room for another one
print(answered, "of", len(clients), "clients were answered")
