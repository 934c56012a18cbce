/* A model server made of nothing but its wire manner: HTTP/1.1 on an AF_UNIX socket, one thread, epoll.
 *
 *     backend SOCKET [--lifetime SECONDS] [--events N] [--rate R] [--answer-bytes N]
 *
 * Prints "ready" when it listens. Any POST is answered; fields of its JSON body choose how (the options above are
 * the defaults of the first three), and must stand in its first 2 KiB without blanks around the colon:
 *
 *     "max_tokens":N         events of a stream
 *     "events_per_second":R  their pace; 0 is as fast as the peer takes them
 *     "answer_bytes":N       size of the answer that is no stream (also as ?answer_bytes=N in the target)
 *     "stream":true          server-sent events as vLLM sends them: one event a chunk, one chunk a send
 *     "in_step":true         all such streams emit at the same instants, as the steps of one engine make them
 *                            do; otherwise every stream has a phase of its own
 *     "answer_after_ms":N    think first
 *     "departure":ID         note when this request arrives, and when its peer leaves before the answer's end
 *
 * Every event carries its number and the CLOCK_MONOTONIC nanoseconds of its send:
 * "n=000000042 t=0000000123456789012". GET /health answers 200. GET /_aborts tells
 * {"arrived": [ID...], "aborted": [[ID, nanoseconds]...], ...}, and DELETE /_aborts forgets it.
 */
#define _GNU_SOURCE
#include "http1.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WISH_MAX 2048
#define READ_MAX (256 * 1024)
#define TURN_MAX 512                    /* descriptors looked at in one turn of the loop */
#define BACKLOG 4096

/* ---- what a request asks for ------------------------------------------------------------------------- */

struct wish {
    bool stream, in_step;
    long events, answer_bytes, answer_after_ms, departure;
    double rate;
};

static struct wish defaults = { .events = 16, .answer_bytes = 1024, .departure = -1 };

static double number_after(const char *text, const char *key, double otherwise)
{
    const char *found = strstr(text, key);
    return found ? strtod(found + strlen(key), NULL) : otherwise;
}

static struct wish read_wish(const char *target, const char *body)
{
    struct wish wish = defaults;
    wish.stream = strstr(body, "\"stream\":true") != NULL;
    wish.in_step = strstr(body, "\"in_step\":true") != NULL;
    wish.events = (long)number_after(body, "\"max_tokens\":", (double)wish.events);
    wish.rate = number_after(body, "\"events_per_second\":", wish.rate);
    wish.answer_bytes = (long)number_after(body, "\"answer_bytes\":", (double)wish.answer_bytes);
    wish.answer_bytes = (long)number_after(target, "answer_bytes=", (double)wish.answer_bytes);
    wish.answer_after_ms = (long)number_after(body, "\"answer_after_ms\":", 0);
    wish.departure = (long)number_after(body, "\"departure\":", -1);
    return wish;
}

/* ---- connections ------------------------------------------------------------------------------------- */

enum phase { HEAD, BODY, THINKING, ANSWERING, STREAMING };

struct conn {
    int fd;
    enum phase phase;
    bool wants_out;                     /* EPOLLOUT is asked for */
    struct head head;
    struct body body;
    struct wish wish;
    char input[HEAD_MAX];
    size_t input_length;
    char wish_text[WISH_MAX + 1];
    size_t wish_length;
    char *output;                       /* what the socket has not taken yet, from output_sent on */
    size_t output_length, output_sent, output_room;
    long emitted;                       /* events of this stream so far */
    int64_t due, interval;              /* of the next event (or of the answer); interval 0 is unpaced */
    size_t timer;                       /* place in the heap of timers, 0 when in none */
};

static int epoll_fd;
static char scratch[READ_MAX];
static long connections, requests;

static void watch(struct conn *conn, int operation)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | (conn->wants_out ? EPOLLOUT : 0),
                                 .data.ptr = conn };
    if (epoll_ctl(epoll_fd, operation, conn->fd, &event) < 0)
        die("epoll_ctl");
}

static void want_out(struct conn *conn, bool wanted)
{
    if (conn->wants_out != wanted) {
        conn->wants_out = wanted;
        watch(conn, EPOLL_CTL_MOD);
    }
}

/* ---- timers: a binary heap of connections, the soonest at place 1 ------------------------------------ */

static struct conn **timers;
static size_t timer_count, timer_room;

static void timer_put(size_t place, struct conn *conn)
{
    timers[place] = conn;
    conn->timer = place;
}

static void timer_settle(size_t place, struct conn *conn)
{
    while (place > 1 && timers[place / 2]->due > conn->due) {
        timer_put(place, timers[place / 2]);
        place /= 2;
    }
    for (size_t child; (child = place * 2) <= timer_count; place = child) {
        if (child < timer_count && timers[child + 1]->due < timers[child]->due)
            child++;
        if (timers[child]->due >= conn->due)
            break;
        timer_put(place, timers[child]);
    }
    timer_put(place, conn);
}

static void timer_start(struct conn *conn)
{
    if (conn->timer == 0) {
        if (++timer_count >= timer_room) {
            timer_room = timer_room * 2 + 64;
            timers = must(realloc(timers, timer_room * sizeof *timers));
        }
        conn->timer = timer_count;
    }
    timer_settle(conn->timer, conn);
}

static void timer_stop(struct conn *conn)
{
    if (conn->timer == 0)
        return;
    struct conn *last = timers[timer_count--];
    if (last != conn)
        timer_settle(conn->timer, last);
    conn->timer = 0;
}

/* ---- departures -------------------------------------------------------------------------------------- */

struct note {
    long id;
    int64_t at;
};
struct notes {
    struct note *items;
    size_t count, room;
};
static struct notes arrivals, aborts;

static void note(struct notes *notes, long id, int64_t at)
{
    if (notes->count == notes->room) {
        notes->room = notes->room * 2 + 1024;
        notes->items = must(realloc(notes->items, notes->room * sizeof *notes->items));
    }
    notes->items[notes->count++] = (struct note){ id, at };
}

static char *tell_aborts(size_t *length)
{
    char *text;
    FILE *out = must(open_memstream(&text, length));
    fprintf(out, "{\"connections\": %ld, \"requests\": %ld, \"arrived\": [", connections, requests);
    for (size_t i = 0; i < arrivals.count; i++)
        fprintf(out, "%s%ld", i ? ", " : "", arrivals.items[i].id);
    fputs("], \"aborted\": [", out);
    for (size_t i = 0; i < aborts.count; i++)
        fprintf(out, "%s[%ld, %lld]", i ? ", " : "", aborts.items[i].id, (long long)aborts.items[i].at);
    fputs("]}\n", out);
    fclose(out);
    return text;
}

/* ---- output ------------------------------------------------------------------------------------------ */

static void drop(struct conn *conn)
{
    if (conn->phase > BODY && conn->wish.departure >= 0)
        note(&aborts, conn->wish.departure, now_ns());
    timer_stop(conn);
    close(conn->fd);
    free(conn->output);
    free(conn);
}

/* Send what is pending. 1: all gone, 0: the peer takes no more for now, -1: the connection is dropped. */
static int flush(struct conn *conn)
{
    while (conn->output_sent < conn->output_length) {
        ssize_t n = send(conn->fd, conn->output + conn->output_sent, conn->output_length - conn->output_sent,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            want_out(conn, true);
            return 0;
        }
        if (n < 0) {
            drop(conn);
            return -1;
        }
        conn->output_sent += (size_t)n;
    }
    conn->output_length = conn->output_sent = 0;
    return 1;
}

static void append(struct conn *conn, const char *data, size_t length)
{
    if (conn->output_length + length > conn->output_room) {
        conn->output_room = conn->output_length + length + 512;
        conn->output = must(realloc(conn->output, conn->output_room));
    }
    memcpy(conn->output + conn->output_length, data, length);
    conn->output_length += length;
}

static void next_request(struct conn *conn)
{
    conn->phase = HEAD;
    conn->wish.departure = -1;
    want_out(conn, false);
}

/* The answer is in `output`: send it, and be ready for the next request when it is gone. */
static void finish_answer(struct conn *conn)
{
    conn->phase = ANSWERING;
    if (flush(conn) == 1)
        next_request(conn);
}

static void answer(struct conn *conn, const char *status, const char *body, size_t length)
{
    char head[256];
    static const char format[] =
        "HTTP/1.1 %s\r\nserver: bench\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n";
    int n = snprintf(head, sizeof head, format, status, length);
    append(conn, head, (size_t)n);
    append(conn, body, length);
    finish_answer(conn);
}

/* ---- answers that are no stream ---------------------------------------------------------------------- */

static const char answer_front[] =
    "{\"id\":\"chatcmpl-8396768ab1ca8279\",\"object\":\"chat.completion\",\"created\":1795256893,"
    "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
static const char answer_back[] =
    "\",\"refusal\":null,\"tool_calls\":[],\"reasoning\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":30,\"total_tokens\":36,\"completion_tokens\":6}}";

static void answer_completion(struct conn *conn)
{
    size_t frame = sizeof answer_front + sizeof answer_back - 2, length = (size_t)conn->wish.answer_bytes;
    if (length < frame)
        length = frame;
    char *body = must(malloc(length));
    memcpy(body, answer_front, sizeof answer_front - 1);
    memset(body + sizeof answer_front - 1, 'a', length - frame);
    memcpy(body + length - (sizeof answer_back - 1), answer_back, sizeof answer_back - 1);
    answer(conn, "200 OK", body, length);
    free(body);
}

/* ---- streams ----------------------------------------------------------------------------------------- */

#define STAMP "n=000000000 t=0000000000000000000 "
static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    "transfer-encoding: chunked\r\n\r\n";
static const char event_front[] =
    "data: {\"id\":\"chatcmpl-800fb20e2490afdd\",\"object\":\"chat.completion.chunk\","
    "\"created\":1795256893,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" STAMP "\"},"
    "\"logprobs\":null,\"finish_reason\":";
static const char event_back[] = ",\"token_ids\":null}]}\n\n";
static const char stream_end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

struct frame {
    char text[512];
    size_t length;
    char *number, *stamp;
};
static struct frame frames[2];          /* an event, and the one that ends the choice */

static void make_frame(struct frame *frame, const char *reason)
{
    char event[480];
    int n = snprintf(event, sizeof event, "%s%s%s", event_front, reason, event_back);
    frame->length = (size_t)snprintf(frame->text, sizeof frame->text, "%x\r\n%s\r\n", (unsigned)n, event);
    frame->number = strstr(frame->text, "n=0") + 2;
    frame->stamp = strstr(frame->text, "t=0") + 2;
}

static void write_digits(char *at, int width, int64_t value)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
}

/* One event, or the end after the last one. As `flush`. */
static int emit(struct conn *conn)
{
    if (conn->emitted == conn->wish.events) {
        append(conn, stream_end, sizeof stream_end - 1);
        finish_answer(conn);
        return -1;
    }
    struct frame *frame = &frames[conn->emitted + 1 == conn->wish.events];
    write_digits(frame->number, 9, conn->emitted++);
    write_digits(frame->stamp, 19, now_ns());
    append(conn, frame->text, frame->length);
    return flush(conn);
}

static int64_t first_due(const struct conn *conn)
{
    static long streams;
    if (conn->wish.in_step)
        return now_ns() / conn->interval * conn->interval + conn->interval;
    double phase = (double)streams++ * 0.6180339887498949;      /* golden section: even for any number */
    return now_ns() + (int64_t)((phase - (double)(long)phase) * (double)conn->interval);
}

static void start_stream(struct conn *conn)
{
    conn->phase = STREAMING;
    conn->emitted = 0;
    conn->interval = conn->wish.rate > 0 ? (int64_t)((double)SECOND / conn->wish.rate) : 0;
    append(conn, stream_head, sizeof stream_head - 1);
    if (flush(conn) < 0)
        return;
    if (conn->interval == 0) {
        want_out(conn, true);
        return;
    }
    conn->due = first_due(conn);
    timer_start(conn);
}

/* The paced event is due. A peer that takes it whole gets the next one in its time, else `writable` goes on. */
static void beat(struct conn *conn)
{
    timer_stop(conn);
    if (emit(conn) == 1) {
        conn->due += conn->interval;
        timer_start(conn);
    }
}

static void writable(struct conn *conn)
{
    int sent = flush(conn);
    if (sent != 1)
        return;
    if (conn->phase == ANSWERING)
        next_request(conn);
    else if (conn->phase == STREAMING && conn->interval == 0)
        emit(conn);
    else if (conn->phase == STREAMING) {
        want_out(conn, false);
        conn->due += conn->interval;
        timer_start(conn);
    }
}

/* ---- input ------------------------------------------------------------------------------------------- */

static void respond(struct conn *conn)
{
    if (conn->wish.stream)
        start_stream(conn);
    else
        answer_completion(conn);
}

static void tell(struct conn *conn)
{
    size_t length;
    char *text = tell_aborts(&length);
    answer(conn, "200 OK", text, length);
    free(text);
}

static void forget(struct conn *conn)
{
    arrivals.count = aborts.count = 0;
    answer(conn, "200 OK", "{}", 2);
}

static void serve(struct conn *conn)
{
    requests++;
    if (strcmp(conn->head.target, "/_aborts") == 0) {
        strcmp(conn->head.method, "DELETE") == 0 ? forget(conn) : tell(conn);
        return;
    }
    if (strcmp(conn->head.method, "POST") != 0) {
        answer(conn, strcmp(conn->head.target, "/health") == 0 ? "200 OK" : "404 Not Found", "{}", 2);
        return;
    }
    conn->wish_text[conn->wish_length] = '\0';
    conn->wish = read_wish(conn->head.target, conn->wish_text);
    if (conn->wish.departure >= 0)
        note(&arrivals, conn->wish.departure, now_ns());
    if (conn->wish.answer_after_ms > 0) {
        conn->phase = THINKING;
        conn->due = now_ns() + conn->wish.answer_after_ms * MILLISECOND;
        timer_start(conn);
    } else {
        respond(conn);
    }
}

static void keep_wish(void *owner, const char *data, size_t length)
{
    struct conn *conn = owner;
    size_t room = WISH_MAX - conn->wish_length;
    if (length > room)
        length = room;
    memcpy(conn->wish_text + conn->wish_length, data, length);
    conn->wish_length += length;
}

/* A part of a body. What follows its end would be a pipelined request, which no peer of ours sends. */
static void body_bytes(struct conn *conn, const char *data, size_t length)
{
    if (body_feed(&conn->body, data, length, keep_wish, conn) != (ssize_t)length)
        drop(conn);
    else if (conn->body.state == BODY_DONE)
        serve(conn);
}

static void head_bytes(struct conn *conn, const char *data, size_t length)
{
    size_t taken = HEAD_MAX - conn->input_length;
    if (taken > length)
        taken = length;
    memcpy(conn->input + conn->input_length, data, taken);
    conn->input_length += taken;
    int parsed = head_parse(&conn->head, conn->input, conn->input_length);
    if (parsed < 0)
        drop(conn);
    if (parsed <= 0)
        return;
    size_t early = conn->input_length - conn->head.length;
    conn->input_length = 0;
    conn->phase = BODY;
    conn->body = body_of_request(&conn->head);
    conn->wish_length = 0;
    if (early > 0 &&
        body_feed(&conn->body, conn->input + conn->head.length, early, keep_wish, conn) != (ssize_t)early) {
        drop(conn);
        return;
    }
    if (conn->body.state == BODY_DONE && taken == length)
        serve(conn);
    else
        body_bytes(conn, data + taken, length - taken);
}

static void readable(struct conn *conn)
{
    ssize_t n = recv(conn->fd, scratch, sizeof scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || conn->phase > BODY)
        drop(conn);
    else if (conn->phase == HEAD)
        head_bytes(conn, scratch, (size_t)n);
    else
        body_bytes(conn, scratch, (size_t)n);
}

/* ---- the loop ---------------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "socket path too long: %s\n", path);
        exit(2);
    }
    strcpy(address.sun_path, path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0)
        die(path);
    return fd;
}

static void accept_all(int listener)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0; connections++) {
        struct conn *conn = must(calloc(1, sizeof *conn));
        conn->fd = fd;
        conn->wish.departure = -1;
        watch(conn, EPOLL_CTL_ADD);
    }
}

static void fire_timers(void)
{
    int64_t now = now_ns();
    while (timer_count > 0 && timers[1]->due <= now) {
        struct conn *conn = timers[1];
        if (conn->phase == STREAMING) {
            beat(conn);
        } else {
            timer_stop(conn);
            respond(conn);
        }
    }
}

static int wait_turn(struct epoll_event *events)
{
    struct timespec pause, *limit = NULL;
    if (timer_count > 0) {
        int64_t left = timers[1]->due - now_ns();
        if (left < 0)
            left = 0;
        pause = (struct timespec){ .tv_sec = left / SECOND, .tv_nsec = left % SECOND };
        limit = &pause;
    }
    return epoll_pwait2(epoll_fd, events, TURN_MAX, limit, NULL);
}

static void turn(int listener)
{
    struct epoll_event events[TURN_MAX];
    int count = wait_turn(events);
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        if (conn == NULL)
            accept_all(listener);
        else if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            readable(conn);
        else
            writable(conn);
    }
    fire_timers();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "lifetime", required_argument, NULL, 'l' },
        { "events", required_argument, NULL, 'e' },
        { "rate", required_argument, NULL, 'r' },
        { "answer-bytes", required_argument, NULL, 'a' },
        { NULL, 0, NULL, 0 },
    };
    unsigned lifetime = 3600;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'l': lifetime = (unsigned)atoi(optarg); break;
        case 'e': defaults.events = atol(optarg); break;
        case 'r': defaults.rate = atof(optarg); break;
        case 'a': defaults.answer_bytes = atol(optarg); break;
        default: return 2;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr,
                "usage: backend SOCKET [--lifetime SECONDS] [--events N] [--rate R] [--answer-bytes N]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);   /* no orphan when the driver is killed */
    prctl(PR_SET_TIMERSLACK, 1);        /* a pace, not a pace rounded up to 50 us */
    alarm(lifetime);
    make_frame(&frames[0], "null");
    make_frame(&frames[1], "\"stop\"");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_at(argv[optind]);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll_ctl");
    puts("ready");
    fflush(stdout);
    for (;;)
        turn(listener);
}
