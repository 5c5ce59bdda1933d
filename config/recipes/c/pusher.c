/* Sends each line of its input through sockjs-bridge to the SockJS server, and ends when all are handed over.
   Run: cc -Wall -Wextra -Werror -o pusher pusher.c -lzmq, then: ./pusher [ENDPOINT] <lines.txt */
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <zmq.h>

static void check(int is_ok, const char *what, const char *endpoint)
{
    if (!is_ok) {
        fprintf(stderr, "pusher: cannot %s %s: %s\n", what, endpoint, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const char *endpoint = argc > 1 ? argv[1] : "tcp://127.0.0.1:9002";
    int immediate = 1, send_hwm = 1, linger_ms = 5000;
    void *context = zmq_ctx_new();
    void *pusher = zmq_socket(context, ZMQ_PUSH);
    check(pusher != NULL, "open a socket for", endpoint);
    /* Messages are for a bridge that is there, wait here and not out of sight while it takes none,
       and the last ones get 5 seconds to go out. */
    zmq_setsockopt(pusher, ZMQ_IMMEDIATE, &immediate, sizeof immediate);
    zmq_setsockopt(pusher, ZMQ_SNDHWM, &send_hwm, sizeof send_hwm);
    zmq_setsockopt(pusher, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    check(zmq_connect(pusher, endpoint) == 0, "connect to", endpoint);

    zmq_pollitem_t item = {.socket = pusher, .events = ZMQ_POLLOUT};
    if (zmq_poll(&item, 1, 5000) != 1) {
        fprintf(stderr, "pusher: no bridge answers at %s\n", endpoint);
        return 1;
    }
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, stdin)) >= 0) {
        length -= length > 0 && line[length - 1] == '\n';
        length -= length > 0 && line[length - 1] == '\r';
        check(zmq_send(pusher, line, length, 0) >= 0, "send to", endpoint);
    }
    free(line);
    zmq_close(pusher);
    zmq_ctx_term(context); /* waits until the last messages are out */
    return 0;
}
