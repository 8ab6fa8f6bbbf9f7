import socket
import selectors
import sys
import time

selector = selectors.DefaultSelector()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
selector.register(server, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, events in selector.select():
        if key.fileobj is server:
            conn, address = server.accept()
            selector.register(conn, selectors.EVENT_READ)
        elif data := key.fileobj.recv(1024):
            if data.startswith(b"later"):
                time.sleep(10)
            key.fileobj.sendall(data)
        else:
            selector.unregister(key.fileobj)
            key.fileobj.close()
