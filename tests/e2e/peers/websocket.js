// WebSocket by others, in both roles: node websocket.js MODULE client URL, or node websocket.js MODULE server.
// The client prints what came of its messages; the server its port, and sends back what comes until it is told "close".
const [, , name, role, url] = process.argv
const http = require("http")
const MOST = 64 << 20
const lib = name == "node" ? null : require(name)

const clients = {
  node: () => new WebSocket(url),
  undici: () => new lib.WebSocket(url),
  ws: () => new lib.WebSocket(url, {perMessageDeflate: true, maxPayload: MOST}),
  "faye-websocket": () => new lib.Client(url, [], {maxLength: MOST}),
  websocket: () => new lib.w3cwebsocket(url, [], undefined, undefined, undefined,
    {maxReceivedFrameSize: MOST, maxReceivedMessageSize: MOST, fragmentationThreshold: 4096}),
}

function client() {
  const messages = ["h\u00e4l\u20aco", "", new Uint8Array([0, 255]), new Uint8Array(0), "x".repeat(126),
    "\u00e4".repeat(1 << 19), new Uint8Array(1 << 20).fill(7), new Uint8Array(16 << 20).map((_, i) => i * 7 >> 3)]
    .filter(message => name != "websocket" || message !== "") // which its client drops
    .filter(message => name != "node" || message.length < 4 << 20) // it decompresses no more
  const ws = clients[name](), right = []
  const is = (data, wanted) => typeof data == "string" ? data === wanted
    : typeof wanted != "string" && Buffer.compare(Buffer.from(data), Buffer.from(wanted)) == 0
  ws.binaryType = "arraybuffer"
  ws.onopen = () => messages.forEach(message => ws.send(name == "faye-websocket" && typeof message != "string"
    ? Buffer.from(message) : message))
  ws.onmessage = event => {
    right.push(is(event.data, messages[right.length]))
    if (right.length == messages.length) ws.close(3001, "we are done")
  }
  ws.onclose = event => console.log(JSON.stringify({right, code: event.code, extensions: ws.extensions || ""}))
}

const servers = {
  ws: ready => {
    const server = new lib.WebSocketServer({host: "127.0.0.1", port: 0, perMessageDeflate: true, maxPayload: MOST},
      () => ready(server.address().port))
    server.on("connection", ws => ws.on("message", (data, binary) => {
      if (String(data) == "close") return ws.close(1008, "as asked")
      if (String(data) != "pieces") return ws.send(data, {binary})
      ws.send("in ", {fin: false})
      ws.ping()
      ws.send("three ", {fin: false})
      ws.send("pieces", {fin: true})
    }))
  },
  "faye-websocket": ready => {
    const server = http.createServer()
    server.on("upgrade", (request, socket, body) => {
      const ws = new lib(request, socket, body, [], {maxLength: MOST})
      ws.on("message", event => event.data == "close" ? ws.close(4008, "as asked") : ws.send(event.data))
    })
    server.listen(0, "127.0.0.1", () => ready(server.address().port))
  },
  websocket: ready => {
    const httpServer = http.createServer()
    const server = new lib.server({httpServer, autoAcceptConnections: true, maxReceivedFrameSize: MOST,
      maxReceivedMessageSize: MOST, fragmentationThreshold: 1000})
    server.on("connect", ws => ws.on("message", message => {
      if (message.type == "binary") return ws.sendBytes(message.binaryData)
      return message.utf8Data == "close" ? ws.close(1008, "as asked") : ws.sendUTF(message.utf8Data)
    }))
    httpServer.listen(0, "127.0.0.1", () => ready(httpServer.address().port))
  },
}

if (role == "client") client()
else servers[name](port => console.log(port))
