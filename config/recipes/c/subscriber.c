/* Prints each message that sockjs-bridge publishes under a topic, a line each.
   Run: cc -Wall -Wextra -Werror -o subscriber subscriber.c -lzmq, then: ./subscriber [ENDPOINT [TOPIC]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void check(int is_ok, const char *what, const char *endpoint)
{
    if (!is_ok) {
        fprintf(stderr, "subscriber: cannot %s %s: %s\n", what, endpoint, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const char *endpoint = argc > 1 ? argv[1] : "tcp://127.0.0.1:9001";
    const char *topic = argc > 2 ? argv[2] : "chat";
    size_t topic_size = strlen(topic);
    void *context = zmq_ctx_new();
    void *subscriber = zmq_socket(context, ZMQ_SUB);
    check(subscriber != NULL, "open a socket for", endpoint);
    check(zmq_setsockopt(subscriber, ZMQ_SUBSCRIBE, topic, topic_size) == 0, "subscribe at", endpoint);
    check(zmq_connect(subscriber, endpoint) == 0, "connect to", endpoint);

    for (;;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        check(zmq_msg_recv(&frame, subscriber, 0) >= 0, "receive from", endpoint);
        /* A subscription is to a prefix: "chat2" comes too, and so do the bridge's own events in "chat/!event". */
        int is_ours = zmq_msg_size(&frame) == topic_size && !memcmp(zmq_msg_data(&frame), topic, topic_size);
        while (zmq_msg_more(&frame)) /* the topic comes first, the data last */
            check(zmq_msg_recv(&frame, subscriber, 0) >= 0, "receive from", endpoint);
        if (is_ours) {
            fwrite(zmq_msg_data(&frame), 1, zmq_msg_size(&frame), stdout);
            putchar('\n');
            if (fflush(stdout) != 0) {
                perror("subscriber: cannot write");
                return 1;
            }
        }
        zmq_msg_close(&frame);
    }
}
