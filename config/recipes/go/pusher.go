// Sends each line of its input through sockjs-bridge to the SockJS server, and ends when all are handed over.
// Run: apt-get install golang-go gcc libc6-dev libzmq3-dev, then: go run pusher.go [ENDPOINT] <lines.txt
package main

// #cgo LDFLAGS: -lzmq
// #include <stdlib.h>
// #include <zmq.h>
import "C"

import (
	"bufio"
	"log"
	"os"
	"syscall"
	"unsafe"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("pusher: ")
	endpoint := "tcp://127.0.0.1:9002"
	if len(os.Args) > 1 {
		endpoint = os.Args[1]
	}

	context := C.zmq_ctx_new()
	pusher := C.zmq_socket(context, C.ZMQ_PUSH)
	set(pusher, C.ZMQ_IMMEDIATE, 1) // messages are for a bridge that is there,
	set(pusher, C.ZMQ_SNDHWM, 1)    // wait here, and not out of sight, while it takes none,
	set(pusher, C.ZMQ_LINGER, 5000) // and the last ones get 5 seconds to go out
	if rc, err := C.zmq_connect(pusher, C.CString(endpoint)); rc != 0 {
		log.Fatalf("cannot connect to %s: %v", endpoint, err)
	}
	item := C.zmq_pollitem_t{socket: pusher, events: C.ZMQ_POLLOUT}
	if C.zmq_poll(&item, 1, 5000) == 0 {
		log.Fatalf("no bridge answers at %s", endpoint)
	}

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 2<<20) // the bridge takes messages of up to 1 MiB
	for lines.Scan() {
		send(pusher, lines.Bytes())
	}
	C.zmq_close(pusher)
	for C.zmq_ctx_term(context) != 0 { // waits until the last messages are out; a signal may interrupt it
	}
	if err := lines.Err(); err != nil {
		log.Fatalf("cannot read: %v", err)
	}
}

func set(socket unsafe.Pointer, option, value C.int) {
	if rc, err := C.zmq_setsockopt(socket, option, unsafe.Pointer(&value), C.sizeof_int); rc != 0 {
		log.Fatalf("cannot set option %d: %v", option, err)
	}
}

func send(socket unsafe.Pointer, line []byte) {
	data := C.CBytes(line)
	defer C.free(data)
	for {
		rc, err := C.zmq_send(socket, data, C.size_t(len(line)), 0)
		if rc >= 0 {
			return
		}
		if err != syscall.EINTR { // a signal to the Go runtime, as when a terminal is resized
			log.Fatalf("cannot send: %v", err)
		}
	}
}
