// Sends each line of its input through sockjs-bridge to the SockJS server, and ends when all are handed over.
// Run: npm install zeromq@6, then: node pusher.mjs [ENDPOINT] <lines.txt
import { createInterface } from "node:readline";
import { Push } from "zeromq";

const [endpoint = "tcp://127.0.0.1:9002"] = process.argv.slice(2);

// Messages are for a bridge that is there, wait here and not out of sight while it takes none, and the last ones get
// 5 seconds to go out. A bridge that is not there within 5 seconds is an error.
const pusher = new Push({ immediate: true, sendHighWaterMark: 1, linger: 5000, sendTimeout: 5000 });
try {
  pusher.connect(endpoint);
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    await pusher.send(line);
    pusher.sendTimeout = -1; // it is there; from now on wait for as long as it takes
  }
} catch (error) {
  const what = error.code === "EAGAIN" ? "no bridge answers at" : "cannot send to";
  console.error(`pusher: ${what} ${endpoint}: ${error.message}`);
  process.exit(1);
}
pusher.close();
