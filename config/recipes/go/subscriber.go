// Prints each message that sockjs-bridge publishes under a topic, a line each. Calls libzmq, needs no Go module.
// Run: apt-get install golang-go gcc libc6-dev libzmq3-dev, then: go run subscriber.go [ENDPOINT [TOPIC]]
package main

// #cgo LDFLAGS: -lzmq
// #include <zmq.h>
import "C"

import (
	"fmt"
	"log"
	"os"
	"syscall"
	"unsafe"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("subscriber: ")
	endpoint, topic := "tcp://127.0.0.1:9001", "chat"
	if len(os.Args) > 1 {
		endpoint = os.Args[1]
	}
	if len(os.Args) > 2 {
		topic = os.Args[2]
	}

	subscriber := C.zmq_socket(C.zmq_ctx_new(), C.ZMQ_SUB)
	prefix := unsafe.Pointer(C.CString(topic))
	if rc, err := C.zmq_setsockopt(subscriber, C.ZMQ_SUBSCRIBE, prefix, C.size_t(len(topic))); rc != 0 {
		log.Fatalf("cannot subscribe: %v", err)
	}
	if rc, err := C.zmq_connect(subscriber, C.CString(endpoint)); rc != 0 {
		log.Fatalf("cannot connect to %s: %v", endpoint, err)
	}

	for {
		first, more := receive(subscriber)
		last := first
		for more { // the topic comes first, the data last
			last, more = receive(subscriber)
		}
		// A subscription is to a prefix: "chat2" comes too, and so do the bridge's own events in "chat/!event".
		if string(first) == topic {
			if _, err := fmt.Printf("%s\n", last); err != nil {
				log.Fatal(err)
			}
		}
	}
}

// receive returns one frame, and whether more of its message follow.
func receive(socket unsafe.Pointer) ([]byte, bool) {
	var frame C.zmq_msg_t
	C.zmq_msg_init(&frame)
	defer C.zmq_msg_close(&frame)
	for {
		rc, err := C.zmq_msg_recv(&frame, socket, 0)
		if rc >= 0 {
			return C.GoBytes(C.zmq_msg_data(&frame), rc), C.zmq_msg_more(&frame) != 0
		}
		if err != syscall.EINTR { // a signal to the Go runtime, as when a terminal is resized
			log.Fatalf("cannot receive: %v", err)
		}
	}
}
