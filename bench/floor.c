/* What a round trip over loopback costs before any of our code runs: the floor under the echo figures.
 *
 * Two processes bounce about 90 octets, in four ways: over one TCP connection or over two (Partisan's wire sends each
 * direction on a connection of its own), and sleeping in recv() or in epoll_wait() (an event loop has to).
 *
 *     cc -O2 -o build/floor bench/floor.c && build/floor
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 50000, REQUEST = 98, REPLY = 81 };

static char buffer[262144];

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void connection(int *dialled, int *accepted) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    must(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *dialled = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(*dialled, (struct sockaddr *)&address, size) == 0, "connect");
    *accepted = accept(listener, NULL, NULL);
    must(*accepted >= 0, "accept");
    setsockopt(*dialled, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(*accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

/* Wait for octets on `in` and take them; 0 at the end of the stream. */
static long take(int poller, int in) {
    struct epoll_event event;
    if (poller >= 0) must(epoll_wait(poller, &event, 1, -1) == 1, "epoll_wait");
    return recv(in, buffer, sizeof buffer, 0);
}

static int poller_of(int in, int polls) {
    struct epoll_event event = {.events = EPOLLIN};
    if (!polls) return -1;
    int poller = epoll_create1(0);
    must(epoll_ctl(poller, EPOLL_CTL_ADD, in, &event) == 0, "epoll_ctl");
    return poller;
}

static void measure(const char *name, int two, int polls) {
    static double took[ROUNDS];
    int near[2], far[2];
    connection(&near[0], &far[0]);
    connection(&far[1], &near[1]);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        int in = far[0], out = two ? far[1] : far[0], poller = poller_of(in, polls);
        for (int i = 0; i < ROUNDS && take(poller, in) > 0; i++) must(send(out, buffer, REPLY, 0) == REPLY, "send");
        _exit(0);
    }
    int out = near[0], in = two ? near[1] : near[0], poller = poller_of(in, polls);
    for (int i = 0; i < ROUNDS; i++) {
        double start = microseconds();
        must(send(out, buffer, REQUEST, 0) == REQUEST, "send");
        must(take(poller, in) > 0, "recv");
        took[i] = microseconds() - start;
    }
    waitpid(child, NULL, 0);
    for (int i = 0; i < 2; i++) close(near[i]), close(far[i]);
    if (poller >= 0) close(poller);
    qsort(took, ROUNDS, sizeof *took, ascending);
    printf("%-36s p50 %6.1f us   p99 %6.1f us\n", name, took[ROUNDS / 2], took[ROUNDS / 100 * 99]);
}

int main(void) {
    for (int round = 0; round < 3; round++) {
        measure("one connection, blocking", 0, 0);
        measure("one connection, epoll", 0, 1);
        measure("a connection a direction, blocking", 1, 0);
        measure("a connection a direction, epoll", 1, 1);
    }
    return 0;
}
