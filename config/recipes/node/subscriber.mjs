// Prints each message that sockjs-bridge publishes under a topic, a line each.
// Run: npm install zeromq@6, then: node subscriber.mjs [ENDPOINT [TOPIC]]
import { Subscriber } from "zeromq";

const [endpoint = "tcp://127.0.0.1:9001", topic = "chat"] = process.argv.slice(2);

const subscriber = new Subscriber();
subscriber.subscribe(topic);
try {
  subscriber.connect(endpoint);
} catch (error) {
  console.error(`subscriber: cannot connect to ${endpoint}: ${error.message}`);
  process.exit(1);
}
process.stdout.on("error", () => process.exit()); // the end of a reader like "| head"

for await (const frames of subscriber) {
  // The topic comes first, the data last. A subscription is to a prefix: "chat2" comes too, and so do the bridge's
  // own events in "chat/!event".
  if (frames[0].toString() === topic) {
    process.stdout.write(`${frames.at(-1)}\n`);
  }
}
