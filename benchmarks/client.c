/* The load of the benchmark: one thread, epoll, HTTP/1.1 with keep-alive, every figure from raw samples.
 *
 *     client MODE TARGET [options]        TARGET is tcp:ADDRESS:PORT or unix:PATH
 *
 *     requests     closed loop at --connections: latency, time to first byte; --stream asks for short streams
 *     streams      --connections at once: delay of each event against the stamp it carries, gaps, losses, bytes
 *     departures   --count requests that leave at a random point; tells when (the backend tells what it noticed)
 *     idle         --connections that asked once and then wait, until standard input ends
 *     stall        --connections that ask for an endless stream and never read, until standard input ends
 *
 *     --connections N  --seconds S  --warm-up S  --body-bytes N  --answer-bytes N  --events N  --rate R
 *     --in-step  --count N  --leave-within MS  --seed N  --path P  --cpu-of PID[,PID...]  --deadline S
 *
 * A bearer token is taken from HADESGW_BENCH_TOKEN, for an argument would show in the process list. --cpu-of reads
 * the CPU clocks of these processes (clock_getcpuclockid(3), nanoseconds, all threads) at the very edges of the
 * measured window. Prints one JSON object; `idle` and `stall` print a line {"holding": N} first. --deadline ends
 * it whatever happens.
 */
#define _GNU_SOURCE
#include "http1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_MAX (256 * 1024)
#define EVENT_MAX 4096
#define TURN_MAX 512
#define PIDS_MAX 16
#define SETTLE (200 * MILLISECOND)      /* after the last stream has begun, before its figures count */

static struct {
    const char *target, *path, *token;
    int connections, count, leave_within_ms;
    long body_bytes, answer_bytes, events;
    double seconds, warm_up, rate;
    bool stream, in_step;
    uint64_t seed;
    pid_t pids[PIDS_MAX];
    int pid_count;
    unsigned deadline;
} options = {
    .path = "/v1/chat/completions",
    .connections = 1,
    .count = 1000,
    .leave_within_ms = 150,
    .body_bytes = 1024,
    .answer_bytes = 1024,
    .events = 8,
    .seconds = 1,
    .warm_up = 0.2,
    .seed = 1,
    .deadline = 120,
};

/* ---- samples ----------------------------------------------------------------------------------------- */

struct samples {
    int64_t *items;
    size_t count, room;
};

static void sample(struct samples *samples, int64_t value)
{
    if (samples->count == samples->room) {
        samples->room = samples->room * 2 + 4096;
        samples->items = must(realloc(samples->items, samples->room * sizeof *samples->items));
    }
    samples->items[samples->count++] = value;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that at least `share` of all samples do not exceed. */
static int64_t percentile(const struct samples *sorted, double share)
{
    size_t rank = (size_t)(share * (double)sorted->count);
    if ((double)rank < share * (double)sorted->count)
        rank++;
    return sorted->items[rank > 0 ? rank - 1 : 0];
}

static void print_samples(const char *name, struct samples *samples)
{
    if (samples->count == 0) {
        printf("\"%s\": null, ", name);
        return;
    }
    qsort(samples->items, samples->count, sizeof *samples->items, ascending);
    printf("\"%s\": {\"count\": %zu, \"p50\": %lld, \"p95\": %lld, \"p99\": %lld, \"max\": %lld}, ", name,
           samples->count, (long long)percentile(samples, 0.50), (long long)percentile(samples, 0.95),
           (long long)percentile(samples, 0.99), (long long)samples->items[samples->count - 1]);
}

/* ---- the measured window ----------------------------------------------------------------------------- */

static struct {
    bool open;
    int64_t from, to, cpu;
} window;
static long errors, reconnects;
static char first_error[256];

static int64_t cpu_of_pids(void)
{
    int64_t sum = 0;
    for (int i = 0; i < options.pid_count; i++) {
        clockid_t clock;
        struct timespec t;
        if (clock_getcpuclockid(options.pids[i], &clock) == 0 && clock_gettime(clock, &t) == 0)
            sum += t.tv_sec * SECOND + t.tv_nsec;
    }
    return sum;
}

static void open_window(int64_t now)
{
    window.open = true;
    window.from = now;
    window.cpu = cpu_of_pids();
}

static void close_window(int64_t now)
{
    if (!window.open)
        return;
    window.open = false;
    window.to = now;
    window.cpu = cpu_of_pids() - window.cpu;
}

static void print_window(void)
{
    printf("\"window_ns\": %lld, \"cpu_ns\": %lld, \"errors\": %ld, \"reconnects\": %ld, \"first_error\": \"",
           (long long)(window.to - window.from), (long long)window.cpu, errors, reconnects);
    for (const char *c = first_error; *c; c++)
        putchar(*c < ' ' || *c == '"' || *c == '\\' || *c > '~' ? '?' : *c);
    fputs("\"}\n", stdout);
}

static void error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (errors++ == 0)
        vsnprintf(first_error, sizeof first_error, format, arguments);
    va_end(arguments);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

struct request {
    char *data;
    size_t length;
};

/* A chat history as a coding agent sends it: turns of about 2 KB with quotes and line breaks to be unescaped, as
 * many as fit into `room` bytes, and a last one that fills what is left. */
static void write_messages(FILE *out, long room)
{
    static const char front[] = "{\"role\":\"user\",\"content\":\"", back[] = "\"},";
    static const char line[] = "def total(rows):\\n    return sum(row[\\\"price\\\"] for row in rows)\\n";
    const long lines = 30, frame = (long)(sizeof front + sizeof back) - 2;
    const long turn = frame + lines * ((long)sizeof line - 1);
    for (; room > turn + frame; room -= turn) {
        fputs(front, out);
        for (long i = 0; i < lines; i++)
            fputs(line, out);
        fputs(back, out);
    }
    fputs(front, out);
    for (room -= frame - 1; room > 0; room--)
        fputc('x', out);
    fputs("\"}", out);
}

/* One request. `departure` of -1 names none; `extra` is further JSON members, each with its comma. */
static struct request make_request(long departure, const char *extra)
{
    struct request request, body;
    FILE *out = must(open_memstream(&body.data, &body.length));
    fprintf(out, "{\"model\":\"bench\",\"max_tokens\":%ld,\"events_per_second\":%.6g,\"answer_bytes\":%ld,",
            options.events, options.rate, options.answer_bytes);
    if (departure >= 0)
        fprintf(out, "\"departure\":%ld,", departure);
    fprintf(out, "%s%s\"messages\":[", options.in_step ? "\"in_step\":true," : "", extra);
    fflush(out);
    write_messages(out, options.body_bytes - (long)body.length - 2);
    fputs("]}", out);
    fclose(out);
    const char *host = strncmp(options.target, "tcp:", 4) == 0 ? options.target + 4 : "localhost";
    out = must(open_memstream(&request.data, &request.length));
    fprintf(out, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hadesgw-benchmark\r\nAccept: */*\r\n",
            options.path, host);
    if (options.token != NULL)
        fprintf(out, "Authorization: Bearer %s\r\n", options.token);
    fprintf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.length);
    fwrite(body.data, 1, body.length, out);
    fclose(out);
    free(body.data);
    return request;
}

/* ---- connections ------------------------------------------------------------------------------------- */

struct conn {
    int fd;                             /* -1: closed */
    bool wants_out, reads, asked, in_body, complaint;
    struct request request;
    size_t sent;
    struct head head;
    struct body body;
    char input[HEAD_MAX];
    size_t input_length;
    char carry[EVENT_MAX];              /* the beginning of an event whose end has not come */
    size_t carried;
    int64_t asked_at, arrived, first_byte_at;
    long bytes, answers;
    /* streams */
    long events;
    int64_t last_arrival, last_delay;
    bool ended;
    /* departures */
    bool leaving;                       /* half closed: the peer's close is what we wait for */
    long departure;
    int64_t leave_at;
};

/* What a mode does at each event; every member but `tick` and `print` may be NULL. */
struct mode {
    void (*begin)(void);
    void (*event)(struct conn *, const char *text, size_t length);
    void (*answered)(struct conn *);
    void (*lost)(struct conn *);        /* the connection has ended, for whatever reason */
    int64_t (*tick)(int64_t now);       /* when to be called again at the latest, or 0: the run is over */
    void (*print)(void);
};

static const struct mode *mode;
static struct conn *conns;
static int epoll_fd;
static int receive_buffer;              /* when set, connections have this one and never read */
static char scratch[READ_MAX];

static void watch(struct conn *conn, int operation)
{
    struct epoll_event event = { .events = (conn->reads ? EPOLLIN : 0) | (conn->wants_out ? EPOLLOUT : 0),
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

static int connect_unix(int fd, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_tcp(int fd, const char *address_and_port)
{
    char text[64];
    int on = 1;
    snprintf(text, sizeof text, "%s", address_and_port);
    char *colon = strrchr(text, ':');
    if (colon != NULL)
        *colon = '\0';
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(colon ? (uint16_t)atoi(colon + 1) : 0) };
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    errno = EINVAL;
    return inet_pton(AF_INET, text, &address.sin_addr) == 1
               ? connect(fd, (struct sockaddr *)&address, sizeof address)
               : -1;
}

/* Connecting waits, which is nothing on one machine; from then on the descriptor never does. */
static void open_conn(struct conn *conn)
{
    bool local = strncmp(options.target, "unix:", 5) == 0;
    conn->fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if ((local ? connect_unix(conn->fd, options.target + 5) : connect_tcp(conn->fd, options.target + 4)) < 0)
        die(options.target);
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    conn->wants_out = conn->leaving = false;
    conn->reads = receive_buffer == 0;
    watch(conn, EPOLL_CTL_ADD);
}

static void shut(struct conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->asked = conn->in_body = false;
    conn->input_length = conn->carried = 0;
}

static void lose(struct conn *conn, const char *why)
{
    if (!conn->leaving)
        error("connection lost: %s (%ld bytes of answer %ld)", why, conn->bytes, conn->answers + 1);
    shut(conn);
    if (mode->lost != NULL)
        mode->lost(conn);
}

static void push(struct conn *conn)
{
    while (conn->sent < conn->request.length) {
        ssize_t n =
            send(conn->fd, conn->request.data + conn->sent, conn->request.length - conn->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            want_out(conn, true);
            return;
        }
        if (n < 0) {
            lose(conn, strerror(errno));
            return;
        }
        conn->sent += (size_t)n;
    }
    want_out(conn, false);
}

static void ask(struct conn *conn)
{
    conn->asked = true;
    conn->in_body = false;
    conn->sent = 0;
    conn->bytes = 0;
    conn->first_byte_at = 0;
    conn->carried = 0;
    conn->asked_at = now_ns();
    push(conn);
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static void whole_event(struct conn *conn, const char *text, size_t length)
{
    if (mode->event != NULL)
        mode->event(conn, text, length);
}

/* Cut the payload into server-sent events, which an empty line ends. */
static void event_bytes(struct conn *conn, const char *data, size_t length)
{
    while (length > 0) {
        size_t n = length;
        if (conn->carried > 0) {        /* look for the end across the seam, on a copy */
            if (n > EVENT_MAX - conn->carried)
                n = EVENT_MAX - conn->carried;
            memcpy(conn->carry + conn->carried, data, n);
            const char *from = conn->carry + conn->carried - 1;
            const char *end = memmem(from, n + 1, "\n\n", 2);
            if (end == NULL) {
                conn->carried += n;
                if (conn->carried == EVENT_MAX) {
                    error("an event longer than %d bytes", EVENT_MAX);
                    conn->carried = 0;
                }
            } else {
                size_t event = (size_t)(end + 2 - conn->carry);
                n = event - conn->carried;
                conn->carried = 0;
                whole_event(conn, conn->carry, event);
            }
        } else {
            const char *end = memmem(data, length, "\n\n", 2);
            if (end != NULL) {
                n = (size_t)(end + 2 - data);
                whole_event(conn, data, n);
            } else if (n < EVENT_MAX) {
                memcpy(conn->carry, data, n);
                conn->carried = n;
            } else {
                error("an event longer than %d bytes", EVENT_MAX);
            }
        }
        data += n;
        length -= n;
    }
}

static void payload(void *owner, const char *data, size_t length)
{
    struct conn *conn = owner;
    if (conn->first_byte_at == 0)
        conn->first_byte_at = conn->arrived;
    conn->bytes += (long)length;
    if (conn->leaving)
        return;                         /* an answer to a half close is the peer's own affair */
    if (conn->head.status != 200) {
        error("status %d: %.*s", conn->head.status, (int)(length > 200 ? 200 : length), data);
        return;
    }
    if (mode->event != NULL)
        event_bytes(conn, data, length);
}

static void answer_done(struct conn *conn)
{
    conn->asked = conn->in_body = false;
    conn->answers++;
    if (conn->head.close)
        shut(conn);
    if (mode->answered != NULL)
        mode->answered(conn);
}

/* Bytes of the body; false when the connection is of no more use. */
static bool body_bytes(struct conn *conn, const char *data, size_t length)
{
    ssize_t used = body_feed(&conn->body, data, length, payload, conn);
    if (used < 0 || (size_t)used < length) {
        lose(conn, used < 0 ? "broken chunk" : "bytes after the answer's end");
        return false;
    }
    if (conn->body.state == BODY_DONE)
        answer_done(conn);
    return true;
}

static void head_bytes(struct conn *conn, const char *data, size_t length)
{
    size_t taken = HEAD_MAX - conn->input_length;
    if (taken > length)
        taken = length;
    memcpy(conn->input + conn->input_length, data, taken);
    conn->input_length += taken;
    int parsed = head_parse(&conn->head, conn->input, conn->input_length);
    if (parsed < 0 || (parsed > 0 && conn->head.status == 0)) {
        lose(conn, "broken head");
        return;
    }
    if (parsed == 0)
        return;
    size_t over = conn->input_length - conn->head.length;       /* what of this read lies behind the head */
    size_t skip = taken - over;
    conn->input_length = 0;
    conn->in_body = true;
    conn->body = body_of_answer(&conn->head);
    if (conn->head.status != 200 && conn->body.state == BODY_DONE && !conn->leaving)
        error("status %d", conn->head.status);
    body_bytes(conn, data + skip, length - skip);
}

static void readable(struct conn *conn)
{
    ssize_t n = recv(conn->fd, scratch, sizeof scratch, 0);
    conn->arrived = now_ns();
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 0 && conn->in_body && conn->body.state == BODY_UNTIL_CLOSE) {
        conn->head.close = true;
        answer_done(conn);
    } else if (n == 0 && !conn->asked) {
        shut(conn);                     /* an idle connection may be closed at any time */
    } else if (n <= 0) {
        lose(conn, n == 0 ? "closed by the peer" : strerror(errno));
    } else if (!conn->asked) {
        lose(conn, "bytes that nobody asked for");
    } else if (conn->in_body) {
        body_bytes(conn, scratch, (size_t)n);
    } else {
        head_bytes(conn, scratch, (size_t)n);
    }
}

static void open_all(const struct request *request)
{
    conns = must(calloc((size_t)options.connections, sizeof *conns));
    for (int i = 0; i < options.connections; i++) {
        conns[i].request = *request;
        conns[i].departure = -1;
        open_conn(&conns[i]);
    }
    for (int i = 0; i < options.connections; i++)
        ask(&conns[i]);
}

static void ask_again(struct conn *conn)
{
    if (conn->fd < 0) {
        reconnects++;
        open_conn(conn);
    }
    ask(conn);
}

/* ---- mode: requests ---------------------------------------------------------------------------------- */

static int64_t begun;
static struct samples latencies, first_bytes;

static void requests_begin(void)
{
    struct request request = make_request(-1, options.stream ? "\"stream\":true," : "");
    begun = now_ns();
    open_all(&request);
}

static void requests_answered(struct conn *conn)
{
    if (window.open && conn->head.status == 200) {
        sample(&latencies, conn->arrived - conn->asked_at);
        sample(&first_bytes, conn->first_byte_at - conn->asked_at);
    }
    ask_again(conn);
}

/* A peer that refuses or hangs up at once must not turn this into a busy loop. */
static void requests_lost(struct conn *conn)
{
    if (errors < 1000)
        ask_again(conn);
}

static int64_t requests_tick(int64_t now)
{
    int64_t open_at = begun + (int64_t)(options.warm_up * SECOND);
    int64_t end = open_at + (int64_t)(options.seconds * SECOND);
    if (now >= end || errors >= 1000) {
        close_window(now);
        return 0;
    }
    if (now >= open_at && !window.open)
        open_window(now);
    return window.open ? end : open_at;
}

static void requests_print(void)
{
    printf("{\"mode\": \"requests\", \"answers\": %zu, ", latencies.count);
    print_samples("latency_ns", &latencies);
    print_samples("first_byte_ns", &first_bytes);
    print_window();
}

/* ---- mode: streams ----------------------------------------------------------------------------------- */

static struct samples delays, stream_first_bytes;
static long streams_begun, streams_ended, events_in_window, bytes_in_window, lost_events, out_of_order;
static int64_t last_begun, largest_gap, largest_added_gap;

static void streams_begin(void)
{
    struct request request = make_request(-1, "\"stream\":true,");
    begun = now_ns();
    open_all(&request);
}

static void count_gap(const struct conn *conn, int64_t delay)
{
    int64_t gap = conn->arrived - conn->last_arrival;
    if (gap > largest_gap)
        largest_gap = gap;
    if (delay - conn->last_delay > largest_added_gap)
        largest_added_gap = delay - conn->last_delay;
}

static void streams_event(struct conn *conn, const char *text, size_t length)
{
    const char *content = memmem(text, length, "\"content\":\"n=", 13);
    if (content == NULL || length < 64) {
        conn->ended |= memmem(text, length, "[DONE]", 6) != NULL;
        return;
    }
    int64_t number = decimal(content + 13, 9), delay = conn->arrived - strtoll(content + 25, NULL, 10);
    if (number > conn->events)
        lost_events += number - conn->events;
    else if (number < conn->events)
        out_of_order++;
    if (conn->events == 0) {
        streams_begun++;
        last_begun = conn->arrived;
        sample(&stream_first_bytes, conn->arrived - conn->asked_at);
    } else if (window.open) {
        events_in_window++;
        bytes_in_window += (long)length;
        sample(&delays, delay);
        count_gap(conn, delay);
    }
    conn->events = number + 1;
    conn->last_arrival = conn->arrived;
    conn->last_delay = delay;
}

/* The first end closes the window: from then on fewer streams run than were asked for. */
static void streams_answered(struct conn *conn)
{
    close_window(conn->arrived);
    streams_ended++;
    lost_events += options.events - conn->events;
    if (!conn->ended || conn->head.status != 200)
        error("a stream ended without [DONE], status %d", conn->head.status);
}

static void streams_lost(struct conn *conn)
{
    close_window(conn->arrived);
    streams_ended++;
    lost_events += options.events - conn->events;
}

static int64_t streams_tick(int64_t now)
{
    int64_t end = window.from + (int64_t)(options.seconds * SECOND);
    if (streams_ended == options.connections)
        return 0;
    if (window.from == 0) {
        if (streams_begun == options.connections && now >= last_begun + SETTLE)
            open_window(now);
        return now + 10 * MILLISECOND;
    }
    if (window.open && now >= end) {
        close_window(now);
        if (options.rate == 0)          /* endless ones are left, paced ones heard out */
            return 0;
    }
    return window.open ? end : now + 50 * MILLISECOND;
}

static void streams_print(void)
{
    printf("{\"mode\": \"streams\", \"streams\": %d, \"streams_begun\": %ld, \"streams_ended\": %ld, "
           "\"events\": %ld, \"bytes\": %ld, \"lost\": %ld, \"out_of_order\": %ld, "
           "\"largest_gap_ns\": %lld, \"largest_added_gap_ns\": %lld, ",
           options.connections, streams_begun, streams_ended, events_in_window, bytes_in_window, lost_events,
           out_of_order, (long long)largest_gap, (long long)largest_added_gap);
    print_samples("delay_ns", &delays);
    print_samples("first_byte_ns", &stream_first_bytes);
    print_window();
}

/* ---- mode: departures -------------------------------------------------------------------------------- */

/* Ways to leave: close the socket, reset it, or end only the sending side and wait for the peer's close. */
#define PATIENCE (2 * SECOND)
enum manner { CLOSE, RESET, HALF_CLOSE, MANNERS };
static const char *const manner_names[] = { "close", "reset", "half-close" };

static struct leaver {
    int64_t left_at;
    bool early;                         /* the answer had ended before */
} *leavers;
static int departures_started, departures_ended;

static uint64_t random_bits(void)       /* xorshift64*: the same points on every machine */
{
    options.seed ^= options.seed >> 12;
    options.seed ^= options.seed << 25;
    options.seed ^= options.seed >> 27;
    return options.seed * 2685821657736338717ULL;
}

/* Every second one waits for an answer that takes long, the others are in the middle of a stream. */
static void set_out(struct conn *conn)
{
    shut(conn);
    free(conn->request.data);
    conn->request = (struct request){ NULL, 0 };
    conn->departure = -1;
    if (departures_started == options.count)
        return;
    conn->departure = departures_started++;
    conn->request = make_request(conn->departure,
                                 conn->departure % 2 ? "\"answer_after_ms\":60000," : "\"stream\":true,");
    open_conn(conn);
    ask(conn);
    conn->leave_at =
        conn->asked_at + (int64_t)(random_bits() % (uint64_t)(options.leave_within_ms * MILLISECOND));
}

static void departures_begin(void)
{
    leavers = must(calloc((size_t)options.count, sizeof *leavers));
    conns = must(calloc((size_t)options.connections, sizeof *conns));
    for (int i = 0; i < options.connections; i++) {
        conns[i].fd = -1;
        set_out(&conns[i]);
    }
}

static void leave(struct conn *conn)
{
    static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    enum manner manner = (enum manner)(conn->departure / 2 % MANNERS);
    if (conn->leaving) {
        departures_ended++;             /* the peer ignores a half close: it has been given its time */
        set_out(conn);
        return;
    }
    leavers[conn->departure].left_at = now_ns();
    if (manner == HALF_CLOSE) {         /* `departures_ended_by_peer` goes on when the peer has closed */
        shutdown(conn->fd, SHUT_WR);
        conn->leaving = true;
        conn->leave_at += PATIENCE;
        return;
    }
    if (manner == RESET)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    departures_ended++;
    set_out(conn);
}

/* The peer has closed or answered: what a half close waits for, and too early for every other manner. */
static void departures_ended_by_peer(struct conn *conn)
{
    leavers[conn->departure].early = leavers[conn->departure].left_at == 0;
    departures_ended++;
    set_out(conn);
}

static int64_t departures_tick(int64_t now)
{
    int64_t next = now + 50 * MILLISECOND;
    if (departures_ended == options.count)
        return 0;
    for (int i = 0; i < options.connections; i++) {
        if (conns[i].departure < 0)
            continue;
        if (conns[i].leave_at <= now)
            leave(&conns[i]);
        if (conns[i].departure >= 0 && conns[i].leave_at < next)
            next = conns[i].leave_at;
    }
    return next;
}

static void departures_print(void)
{
    printf("{\"mode\": \"departures\", \"departures\": [");
    for (int i = 0; i < departures_started; i++)
        printf("%s{\"id\": %d, \"left_ns\": %lld, \"early\": %s, \"manner\": \"%s\", \"stream\": %s}",
               i ? ", " : "", i, (long long)leavers[i].left_at, leavers[i].early ? "true" : "false",
               manner_names[i / 2 % MANNERS], i % 2 ? "false" : "true");
    printf("], ");
    print_window();
}

/* ---- modes: idle and stall --------------------------------------------------------------------------- */

static int arrived_count;
static bool holding;

static void tell_holding(int count)
{
    printf("{\"holding\": %d}\n", count);
    fflush(stdout);
    holding = true;
}

static bool input_ended(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    char byte;
    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static int open_count(void)
{
    int count = 0;
    for (int i = 0; i < options.connections; i++)
        count += conns[i].fd >= 0;
    return count;
}

static void idle_answered(struct conn *conn)
{
    arrived_count += conn->fd >= 0;
}

static int64_t idle_tick(int64_t now)
{
    if (!holding && (arrived_count + errors >= options.connections))
        tell_holding(open_count());
    return holding && input_ended() ? 0 : now + 20 * MILLISECOND;
}

static void hold_print(void)
{
    printf("{\"mode\": \"hold\", \"asked\": %d, \"still_open\": %d, ", options.connections, open_count());
    print_window();
}

static void stall_begin(void)
{
    struct request request = make_request(-1, "\"stream\":true,");
    receive_buffer = 64 * 1024;         /* what a slow reader's kernel would hold for it */
    begun = now_ns();
    open_all(&request);
}

/* The pipes are full when the warm-up is over. A connection that the peer gave up shows as EPOLLHUP: an error. */
static int64_t stall_tick(int64_t now)
{
    if (!holding && now >= begun + (int64_t)(options.warm_up * SECOND))
        tell_holding(open_count());
    return holding && input_ended() ? 0 : now + 20 * MILLISECOND;
}

/* ---- the run ----------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct mode mode;
} modes[] = {
    { "requests", { requests_begin, NULL, requests_answered, requests_lost, requests_tick, requests_print } },
    { "streams",
      { streams_begin, streams_event, streams_answered, streams_lost, streams_tick, streams_print } },
    { "departures",
      { departures_begin, NULL, departures_ended_by_peer, departures_ended_by_peer, departures_tick,
        departures_print } },
    { "idle", { requests_begin, NULL, idle_answered, NULL, idle_tick, hold_print } },
    { "stall", { stall_begin, NULL, NULL, NULL, stall_tick, hold_print } },
};

static void turn(int64_t wake)
{
    struct epoll_event events[TURN_MAX];
    int64_t left = wake - now_ns();
    if (left < 0)
        left = 0;
    struct timespec limit = { .tv_sec = left / SECOND, .tv_nsec = left % SECOND };
    int count = epoll_pwait2(epoll_fd, events, TURN_MAX, &limit, NULL);
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        if (conn->fd < 0)
            continue;
        if (!conn->reads && events[i].events & (EPOLLHUP | EPOLLERR))
            lose(conn, "given up by the peer");
        else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            readable(conn);
        else
            push(conn);
    }
}

static void read_pids(char *list)
{
    for (char *pid = strtok(list, ","); pid != NULL && options.pid_count < PIDS_MAX; pid = strtok(NULL, ","))
        options.pids[options.pid_count++] = (pid_t)atoi(pid);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "connections", required_argument, NULL, 'c' },
        { "seconds", required_argument, NULL, 's' },
        { "warm-up", required_argument, NULL, 'w' },
        { "body-bytes", required_argument, NULL, 'b' },
        { "answer-bytes", required_argument, NULL, 'a' },
        { "events", required_argument, NULL, 'e' },
        { "rate", required_argument, NULL, 'r' },
        { "count", required_argument, NULL, 'n' },
        { "leave-within", required_argument, NULL, 'l' },
        { "seed", required_argument, NULL, 'x' },
        { "path", required_argument, NULL, 'p' },
        { "cpu-of", required_argument, NULL, 'u' },
        { "deadline", required_argument, NULL, 'd' },
        { "stream", no_argument, NULL, 'S' },
        { "in-step", no_argument, NULL, 'I' },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'b': options.body_bytes = atol(optarg); break;
        case 'a': options.answer_bytes = atol(optarg); break;
        case 'e': options.events = atol(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'n': options.count = atoi(optarg); break;
        case 'l': options.leave_within_ms = atoi(optarg); break;
        case 'x': options.seed = strtoull(optarg, NULL, 10); break;
        case 'p': options.path = optarg; break;
        case 'u': read_pids(optarg); break;
        case 'd': options.deadline = (unsigned)atoi(optarg); break;
        case 'S': options.stream = true; break;
        case 'I': options.in_step = true; break;
        default: exit(2);
        }
    }
}

static bool choose_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, name) == 0)
            mode = &modes[i].mode;
    return mode != NULL;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (argc - optind != 2 || !choose_mode(argv[optind]) || options.connections < 1 || options.seed == 0 ||
        (strncmp(argv[optind + 1], "unix:", 5) != 0 && strncmp(argv[optind + 1], "tcp:", 4) != 0)) {
        fprintf(
            stderr,
            "usage: client requests|streams|departures|idle|stall tcp:ADDRESS:PORT|unix:PATH [options]\n");
        return 2;
    }
    options.target = argv[optind + 1];
    options.token = getenv("HADESGW_BENCH_TOKEN");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1);
    alarm(options.deadline + 5);        /* should even the loop below hang */
    int64_t deadline = now_ns() + options.deadline * SECOND;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    mode->begin();
    for (int64_t wake; (wake = mode->tick(now_ns())) != 0;) {
        if (now_ns() >= deadline) {
            error("not done within %u s", options.deadline);
            break;
        }
        turn(wake < deadline ? wake : deadline);
    }
    mode->print();
    return 0;
}
