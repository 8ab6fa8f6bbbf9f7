import selectors
import socket
import sys

selector = selectors.DefaultSelector()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
selector.register(server, selectors.EVENT_READ)
guests = []
print("listening", flush=True)
while True:
    for key, events in selector.select():
        if key.fileobj is server:
            conn, address = server.accept()
            guests.append(conn)
            selector.register(conn, selectors.EVENT_READ)
        elif data := key.fileobj.recv(65536):
            for guest in guests:
                guest.sendall(data)
        else:
            guests.remove(key.fileobj)
            selector.unregister(key.fileobj)
            key.fileobj.close()
