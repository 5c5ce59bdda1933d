// The test server on npm's `sockjs`, which is sockjs-node.
//
// usage: node node_echo.js [PORT] [--until-stdin-closes]
// Port 0, the default, lets the system pick one. The packages are found by NODE_PATH: see tests/real_servers.py.

'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const sockjs = require('sockjs');
const { version } = require('sockjs/package.json');

const args = process.argv.slice(2);
const port = Number(args.find((arg) => !arg.startsWith('--')) || 0);

// A streaming response ends after this many bytes, so that tests see the bridge begin the next one.
const RESPONSE_LIMIT_BYTES = 4096;

function refuse(request, response) {
  response.writeHead(404);
  response.end('404 page not found (echo)');
}

// ECHO_TLS: {"cert": file, "key": file, "ca": file}; with `ca`, clients need a certificate of that authority.
function secured({ cert, key, ca }) {
  const files = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
  const wanted = ca ? { ca: fs.readFileSync(ca), requestCert: true, rejectUnauthorized: true } : {};
  return https.createServer({ ...files, ...wanted }, refuse);
}

const server = process.env.ECHO_TLS ? secured(JSON.parse(process.env.ECHO_TLS)) : http.createServer(refuse);

function mount(prefix, options, onConnection) {
  const endpoint = sockjs.createServer({
    response_limit: RESPONSE_LIMIT_BYTES,
    // Standard output belongs to the line that says where the server listens.
    log: (severity, line) => severity === 'error' && console.error(line),
    ...options,
  });
  // sockjs-node hands over null where the client was gone before it was served.
  endpoint.on('connection', (connection) => connection && onConnection(connection));
  endpoint.installHandlers(server, { prefix });
}

function echo(connection) {
  connection.on('data', (message) => connection.write(message));
}

function close(connection) {
  connection.close(3000, 'Go away!');
}

function bulk(connection) {
  for (let number = 0; number < 5; number += 1) connection.write(`m${number}`);
  connection.on('data', (message) => {
    if (message === 'close') connection.close(4001, 'bye "quoted" \n reason');
    else connection.write(message);
  });
}

const present = new Set();
function chat(connection) {
  present.add(connection);
  connection.on('data', (message) => present.forEach((one) => one.write(message)));
  connection.on('close', () => present.delete(connection));
}

function mortal(connection) {
  connection.on('data', (message) => {
    // As a crash does: no close frames, no cleanup.
    if (message === 'die') process.kill(process.pid, 'SIGKILL');
    connection.write(message);
  });
}

// Tells which of several servers this is, by its port: when asked, and before it closes.
function named(connection) {
  connection.on('data', (message) => {
    const isQuestion = message === 'who' || message === 'close';
    connection.write(isQuestion ? String(server.address().port) : message);
    if (message === 'close') connection.close(3000, 'Go away!');
  });
}

mount('/echo', {}, echo);
mount('/hb1', { heartbeat_delay: 1000 }, echo);
mount('/cookie_needed_echo', { jsessionid: true }, echo);
mount('/disabled_websocket_echo', { websocket: false }, echo);
mount('/close', {}, close);
mount('/bulk', {}, bulk);
mount('/chat', {}, chat);
mount('/die', {}, mortal);
mount('/named', {}, named);
// /info of this one sends clients to /echo.
mount('/base_url', { base_url: () => `http://127.0.0.1:${server.address().port}/echo` }, echo);

server.listen(port, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: server.address().port, server: 'sockjs-node', version }));
});

if (args.includes('--until-stdin-closes')) {
  // The parent closes standard input, which its own death does too.
  process.stdin.on('end', () => process.exit(0)).resume();
}
