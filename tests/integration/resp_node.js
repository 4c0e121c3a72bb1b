// What node-redis does in the tests (`resp_harness.node_redis`): node resp_node.js SCENE PORT... ; NODE_PATH has its place.
// A scene that finds anything wrong ends the process with an error; else it prints a line.

const assert = require("node:assert/strict");
const { createClient, createCluster } = require("redis");

const PIPELINE = 10_000;

async function everyday(client, tag) {
  const key = (name) => `{${tag}}${name}`;
  assert.equal(await client.set(key("a"), "schön"), "OK");
  assert.equal(await client.get(key("a")), "schön");
  assert.equal(await client.get(key("absent")), null);
  assert.equal(await client.set(key("a"), "x", { NX: true }), null);
  assert.equal(await client.set(key("a"), "y", { XX: true, GET: true }), "schön");
  assert.equal(await client.incr(key("count")), 1);
  assert.equal(await client.incrBy(key("count"), 41), 42);
  assert.equal(await client.append(key("a"), "z"), 2);
  assert.deepEqual(await client.mGet([key("a"), key("absent"), key("count")]), ["yz", null, "42"]);
  assert.equal(await client.mSet([[key("b"), "1"], [key("c"), "2"]]), "OK");
  assert.equal(await client.exists([key("b"), key("c"), key("absent")]), 2);
  assert.equal(await client.rename(key("b"), key("d")), "OK");
  assert.equal(await client.set(key("soon"), "x", { expiration: { type: "PX", value: 40 } }), "OK");
  assert.equal(Number(await client.expire(key("c"), 1000)), 1);
  assert.ok((await client.ttl(key("c"))) > 990);
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(await client.get(key("soon")), null);
  assert.deepEqual(await client.multi().set(key("t"), "1").incr(key("t")).get(key("t")).exec(), ["OK", 2, "2"]);
  await assert.rejects(client.incr(key("a")), /ERR value is not an integer or out of range/);
  assert.equal(await client.del([key("a"), key("c"), key("d"), key("count"), key("t")]), 5);
}

async function pipeline(client, tag) {
  const keys = Array.from({ length: PIPELINE }, (_, number) => `${tag}:${number}`);
  await Promise.all(keys.map((key, number) => client.set(key, `value ${number}`)));
  const found = await Promise.all(keys.map((key) => client.get(key)));
  found.forEach((value, number) => assert.equal(value, `value ${number}`));
}

async function single(port) {
  for (const RESP of [2, 3]) {
    const client = createClient({ RESP, socket: { host: "127.0.0.1", port } });
    client.on("error", (error) => { throw error; });
    await client.connect();
    assert.equal(await client.ping(), "PONG");
    await everyday(client, `node${RESP}`);
    await pipeline(client, `node${RESP}`);
    const found = new Set();
    for await (const page of client.scanIterator({ MATCH: `node${RESP}:*`, COUNT: 500 })) {
      for (const key of [].concat(page)) found.add(key);
    }
    assert.equal(found.size, PIPELINE);
    const other = client.duplicate();
    await other.connect();
    await client.watch(`{w${RESP}}`);
    await other.set(`{w${RESP}}`, "changed");
    await assert.rejects(client.multi().set(`{w${RESP}}`, "mine").exec(), /watched/i);
    await other.close();
    await client.close();
  }
}

async function clustered(...ports) {
  for (const RESP of [2, 3]) {
    const client = createCluster({ rootNodes: places(ports), defaults: { RESP } });
    client.on("error", () => {});
    await client.connect();
    for (const tag of ["red", "green", "blue", "grey"]) await everyday(client, `${tag}${RESP}`);
    await pipeline(client, `cluster${RESP}`);
    await assert.rejects(client.rename("a", "b"), /CROSSSLOT/);
    await client.close();
  }
}

// Counts up keys until standard input ends, and each once more with success, as `Writer` in resp_writers.py does;
// prints that it has begun when each was set once, and what was acknowledged at the end.
async function steady(client, name) {
  client.on("error", () => {});
  await client.connect();
  let begun = false;
  let ended = false;
  process.stdin.on("end", () => { ended = true; }).resume();
  const told = { acknowledged: {}, tried: {}, failures: 0, last: "" };
  const keys = Array.from({ length: 12 }, (_, number) => `${name}/${number}`);
  // Each key has a writer, since a call whose node has died may wait.
  const count = async (key) => {
    for (let turn = 1, last = false; !last; turn += 1) {
      const wasEnded = ended;
      told.tried[key] = turn;
      try {
        assert.equal(await client.set(key, String(turn)), "OK");
        told.acknowledged[key] = turn;
        if (!begun && Object.keys(told.acknowledged).length === keys.length) {
          begun = true;
          console.log("begun");
        }
        last = wasEnded;
      } catch (error) {
        told.failures += 1;
        told.last = String(error);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  await Promise.all(keys.map(count));
  console.log(JSON.stringify(told));
  client.destroy();
}

const places = (ports) => ports.map((port) => ({ socket: { host: "127.0.0.1", port } }));
const scenes = {
  single,
  clustered,
  steadyPlain: (port) => steady(createClient(places([port])[0]), "node-redis"),
  steadyClustered: (...ports) => steady(createCluster({ rootNodes: places(ports) }), "node-redis cluster"),
};
const [scene, ...ports] = process.argv.slice(2);
scenes[scene](...ports.map(Number)).then(
  () => { if (!scene.startsWith("steady")) console.log(`${scene}: as it should be`); },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
