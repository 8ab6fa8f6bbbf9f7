// The npm client of Toxiproxy, as its documentation uses it: node toxiproxy.js API UPSTREAM. Prints "done" in the end.
const [, , api, upstream] = process.argv
const assert = require("assert")
const net = require("net")
const {Toxiproxy} = require("toxiproxy-node-client")

const toxiproxy = new Toxiproxy(api)

// What comes back for one word, and how many milliseconds that takes; null: the connection has ended.
function ask(listen, word = "hello") {
  return new Promise((resolve, reject) => {
    const began = performance.now(), [port, host] = [listen.split(":").pop(), listen.split(":").slice(0, -1).join(":")]
    const socket = net.connect(port, host)
    let got = ""
    socket.on("connect", () => socket.write(word))
    socket.on("data", data => {
      got += data
      if (got.length < word.length) return
      socket.destroy()
      resolve({got, ms: performance.now() - began})
    })
    socket.on("end", () => resolve(null))
    socket.on("error", reject)
  })
}

const fails = (promise, status) => assert.rejects(promise, {message: `Request failed with status code ${status}`})

async function main() {
  assert.match(JSON.parse(await toxiproxy.getVersion()).version, /^2\.\d+\.\d+/)
  assert.deepStrictEqual(await toxiproxy.getAll(), {})
  const made = await toxiproxy.createProxy({name: "echo", listen: "localhost:0", upstream})
  assert.deepStrictEqual([made.name, made.upstream, made.enabled], ["echo", upstream, true])
  assert.match(made.listen, /^127\.0\.0\.1:[1-9]\d*$/)
  assert.strictEqual((await ask(made.listen)).got, "hello")
  await fails(toxiproxy.createProxy({name: "echo", listen: "localhost:0", upstream}), 409)
  await fails(toxiproxy.createProxy({name: "", listen: "localhost:0", upstream}), 400)
  await fails(toxiproxy.get("nobody"), 404)
  assert.deepStrictEqual((await toxiproxy.get("echo")).toJson(), made.toJson())
  assert.deepStrictEqual(Object.keys(await toxiproxy.getAll()), ["echo"])

  const latency = await made.addToxic({type: "latency", attributes: {latency: 150, jitter: 0}})
  assert.deepStrictEqual(latency.toJson(), {attributes: {latency: 150, jitter: 0}, name: "latency_downstream",
    stream: "downstream", toxicity: 1, type: "latency"})
  assert((await ask(made.listen)).ms >= 150)
  await fails(made.addToxic({type: "latency", attributes: {}}), 409)
  await fails(made.addToxic({type: "nonsense", attributes: {}}), 400)
  await fails(made.getToxic("nobody"), 404)
  assert.deepStrictEqual((await made.getToxic("latency_downstream")).toJson(), latency.toJson())
  const slower = await latency.update({attributes: {latency: 250}})
  assert.deepStrictEqual(slower.attributes, {latency: 250, jitter: 0})
  assert((await ask(made.listen)).ms >= 250)
  await latency.remove()
  await fails(latency.remove(), 404)
  for (const [type, attributes] of Object.entries({latency: {latency: 1, jitter: 1}, bandwidth: {rate: 1000},
    slow_close: {delay: 1}, timeout: {timeout: 0}, reset_peer: {timeout: 1000}, limit_data: {bytes: 9},
    slicer: {average_size: 2, size_variation: 1, delay: 10}})) {
    const toxic = await made.addToxic({name: `a ${type}`, type, stream: "upstream", toxicity: 0, attributes})
    assert.deepStrictEqual([toxic.type, toxic.attributes, toxic.toxicity], [type, attributes, 0])
    await (await made.getToxic(`a ${type}`)).remove()
  }

  assert.strictEqual((await made.update({enabled: false, listen: made.listen, upstream})).enabled, false)
  await assert.rejects(ask(made.listen), {code: "ECONNREFUSED"})
  await made.addToxic({type: "timeout", attributes: {timeout: 1}})
  await toxiproxy.reset()
  assert.strictEqual((await toxiproxy.get("echo")).enabled, true)
  assert.strictEqual((await ask(made.listen)).got, "hello")
  const both = [{name: "echo", listen: made.listen, upstream}, {name: "other", listen: "localhost:0", upstream}]
  const first = await toxiproxy.populate(both), again = await toxiproxy.populate(both)
  assert.deepStrictEqual(Object.keys(first), ["echo", "other"])
  assert.strictEqual(first.echo.listen, made.listen)
  assert.strictEqual(again.other.listen, first.other.listen)
  assert.strictEqual((await ask(again.other.listen)).got, "hello")
  for (const proxy of Object.values(await toxiproxy.getAll()))
    await proxy.remove()
  await assert.rejects(ask(made.listen), {code: "ECONNREFUSED"})
  assert.deepStrictEqual(await toxiproxy.getAll(), {})
  console.log("done")
}

main()
