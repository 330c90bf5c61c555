/* The server of the benchmark: nghttp2 and OpenSSL on one thread. It answers each complete request
 * with 200 and the request's apns-id, as APNs does, after a fixed delay; the body is read and
 * dropped. nghttpd would do, were it not that aioapns finds its answers by that field, and that
 * nghttpd cannot wait.
 *
 * server KEY CERT WINDOW DELAY_US STREAMS [BOOK]: WINDOW octets for each stream and for the connection,
 * STREAMS at once. The port, on 127.0.0.1, is the first line on standard output. BOOK, a file, gets
 * how many requests were answered, then for each when (CLOCK_MONOTONIC, in microseconds) and the first
 * eight hex digits of its token, as numbers of 64 bits; who maps it can read along. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { OUT = 65536, IN = 65536, EVENTS = 64, ID = 40, ENTRIES = 1 << 20 };

typedef struct {
    int fd, closed, dirty, blocked;
    unsigned holds; /* the event loop, and every answer that waits */
    SSL *ssl;
    nghttp2_session *session;
    size_t from, to; /* of `out`: what is not written yet */
    uint8_t out[OUT];
} Connection;

typedef struct {
    uint8_t id[ID];
    size_t length;
    int64_t token;
} Request;

typedef struct Answer {
    struct Answer *next;
    Connection *connection;
    int32_t stream;
    int64_t due; /* microseconds */
    Request request;
} Answer;

static SSL_CTX *tls;
static int poller;
static int32_t window;
static int64_t delay;
static uint32_t streams;
typedef struct {
    int64_t count;
    struct {
        int64_t at, token;
    } entries[ENTRIES];
} Book;

static Book *book; /* or NULL */
static Answer *first, **last = &first; /* the delay is the same for all, so first in is first out */

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void let_go(Connection *c) {
    if (--c->holds == 0) free(c);
}

static void close_connection(Connection *c) {
    if (c->closed) return;
    c->closed = 1;
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    close(c->fd);
    let_go(c);
}

static void watch(Connection *c, int for_writing) {
    struct epoll_event e = {.events = EPOLLIN | (for_writing ? EPOLLOUT : 0), .data.ptr = c};
    if (c->blocked == for_writing) return;
    c->blocked = for_writing;
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl");
}

/* Write what nghttp2 has to say. Returns -1 when the connection is to be closed. */
static int flush(Connection *c) {
    c->dirty = 0;
    if (!SSL_is_init_finished(c->ssl)) return 0;
    for (;;) {
        while (c->to < OUT / 2) { /* gather small frames into one write */
            const uint8_t *data;
            ssize_t size = nghttp2_session_mem_send(c->session, &data);
            if (size < 0 || (size_t)size > OUT - c->to) return -1;
            if (size == 0) break;
            memcpy(c->out + c->to, data, size);
            c->to += size;
        }
        if (c->from == c->to) {
            watch(c, 0);
            return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session) ? 0 : -1;
        }
        int written = SSL_write(c->ssl, c->out + c->from, (int)(c->to - c->from));
        if (written <= 0) {
            if (SSL_get_error(c->ssl, written) != SSL_ERROR_WANT_WRITE) return -1;
            watch(c, 1);
            return 0;
        }
        c->from += written;
        if (c->from == c->to) c->from = c->to = 0;
    }
}

static void answer(Connection *c, int32_t stream, const Request *r) {
    nghttp2_nv fields[] = {
        {(uint8_t *)":status", (uint8_t *)"200", 7, 3, NGHTTP2_NV_FLAG_NONE},
        {(uint8_t *)"apns-id", (uint8_t *)r->id, 7, r->length, NGHTTP2_NV_FLAG_NONE},
    };
    nghttp2_submit_response(c->session, stream, fields, r->length ? 2 : 1, NULL);
    if (!book) return;
    book->entries[book->count % ENTRIES].at = now();
    book->entries[book->count % ENTRIES].token = r->token;
    __atomic_store_n(&book->count, book->count + 1, __ATOMIC_RELEASE);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    Request *r = calloc(1, sizeof *r);
    if (!r) die("calloc");
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, r);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t size, uint8_t flags, void *user) {
    (void)flags, (void)user;
    Request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r) return 0;
    if (book && name_size == 5 && !memcmp(name, ":path", 5) && size > 18) { /* "/3/device/" and the token */
        char digits[9] = {0};
        memcpy(digits, value + 10, 8);
        r->token = (int64_t)strtoul(digits, NULL, 16);
    }
    if (name_size != 7 || memcmp(name, "apns-id", 7) || size > ID) return 0;
    memcpy(r->id, value, size);
    r->length = size;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    Connection *c = user;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    Request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r) return 0;
    if (delay == 0) {
        answer(c, frame->hd.stream_id, r);
        return 0;
    }
    Answer *a = malloc(sizeof *a);
    if (!a) die("malloc");
    *a = (Answer){NULL, c, frame->hd.stream_id, now() + delay, *r};
    c->holds++;
    *last = a;
    last = &a->next;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user) {
    (void)code, (void)user;
    free(nghttp2_session_get_stream_user_data(session, stream));
    return 0;
}

/* Send the answers whose time has come. */
static void send_due(void) {
    Connection *touched[EVENTS];
    int count = 0;
    while (first && first->due <= now() && count < EVENTS) {
        Answer *a = first;
        Connection *c = a->connection;
        first = a->next;
        if (!first) last = &first;
        if (!c->closed) {
            answer(c, a->stream, &a->request);
            if (!c->dirty) {
                c->dirty = 1;
                c->holds++;
                touched[count++] = c;
            }
        }
        let_go(c);
        free(a);
    }
    while (count--) {
        if (!touched[count]->closed && flush(touched[count])) close_connection(touched[count]);
        let_go(touched[count]);
    }
}

static nghttp2_session *new_session(Connection *c) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)window},
    };
    if (nghttp2_session_callbacks_new(&callbacks)) die("nghttp2");
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_server_new(&session, callbacks, c)) die("nghttp2");
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, window);
    return session;
}

static void take(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    c->fd = fd;
    c->holds = 1;
    c->ssl = SSL_new(tls);
    c->session = new_session(c);
    SSL_set_fd(c->ssl, fd);
    SSL_set_accept_state(c->ssl);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

/* Read all there is. Returns -1 when the connection is to be closed. */
static int serve(Connection *c) {
    static uint8_t in[IN];
    for (;;) {
        int size = SSL_read(c->ssl, in, IN);
        if (size <= 0) {
            int error = SSL_get_error(c->ssl, size);
            ERR_clear_error();
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return -1;
            return flush(c);
        }
        if (nghttp2_session_mem_recv(c->session, in, size) < 0) return -1;
    }
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in,
                     unsigned int size, void *user) {
    (void)ssl, (void)user;
    return nghttp2_select_next_protocol((unsigned char **)out, out_size, in, size) == 1
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int start_listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 128)) die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &size)) die("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void open_book(const char *name) {
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *book)) die(name);
    book = mmap(NULL, sizeof *book, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (book == MAP_FAILED) die("mmap");
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: server KEY CERT WINDOW DELAY_US STREAMS [BOOK]\n");
        return 2;
    }
    if (argc == 7) open_book(argv[6]);
    window = atoi(argv[3]), delay = atoll(argv[4]), streams = (uint32_t)atoi(argv[5]);
    signal(SIGPIPE, SIG_IGN);
    tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_use_certificate_chain_file(tls, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, argv[1], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_h2, NULL);
    int listener = start_listening();
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e)) die("epoll_ctl");
    for (;;) {
        int64_t left = first ? first->due - now() : 0;
        struct timespec wait = {left > 0 ? left / 1000000 : 0, left > 0 ? left % 1000000 * 1000 : 0};
        int count = epoll_pwait2(poller, events, EVENTS, first ? &wait : NULL, NULL);
        if (count < 0 && errno != EINTR) die("epoll_pwait2");
        for (int i = 0; i < count; i++) {
            Connection *c = events[i].data.ptr;
            if (!c)
                take(listener);
            else if (serve(c))
                close_connection(c);
        }
        send_due();
    }
}
