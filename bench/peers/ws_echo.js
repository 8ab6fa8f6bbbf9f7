// A WebSocket echo server by npm's module ws, which NODE_PATH must lead to.
//
//     ws_echo.js PORT [deflate]
//
// deflate: with compression, every message by itself, as a server of tenon wants it.
"use strict";
const { WebSocketServer } = require("ws");

const [port, how] = process.argv.slice(2);
const server = new WebSocketServer({
	host: "127.0.0.1",
	port: Number(port),
	backlog: 4096,
	perMessageDeflate: how === "deflate" &&
		{ threshold: 256, serverNoContextTakeover: true, clientNoContextTakeover: true },
});

server.on("listening", () => console.log("listening", server.address().port));
server.on("connection", (socket) => {
	socket.on("message", (data, binary) => socket.send(data, { binary }));
	socket.on("error", () => socket.terminate());
});
