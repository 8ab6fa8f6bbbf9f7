import socket
import sys
import threading


def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    source.close()
    target.close()


server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    client, address = server.accept()
    target = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    threading.Thread(target=copy, args=(client, target), daemon=True).start()
    threading.Thread(target=copy, args=(target, client), daemon=True).start()
