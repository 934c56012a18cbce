/* What both ends of the benchmark share: a clock, and HTTP/1.1 (RFC 9112) as bytes in and facts out.
 *
 * Strict on purpose: a gateway that answers with broken framing must show up as an error of the run and not as a
 * good figure, so everything but the forms a correct peer sends is refused.
 */
#ifndef HADESGW_BENCH_HTTP1_H
#define HADESGW_BENCH_HTTP1_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <time.h>

#define SECOND 1000000000LL
#define MILLISECOND 1000000LL
#define HEAD_MAX 16384

/* Both ends run on one machine, so this clock is common to them and their stamps may be subtracted. */
static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void *must(void *memory)
{
    if (memory == NULL)
        die("memory");
    return memory;
}

/* ---- heads ------------------------------------------------------------------------------------------- */

struct head {
    size_t length;            /* bytes of the head with its empty line */
    int status;               /* of an answer; 0 in a request */
    char method[16];          /* of a request; empty in an answer */
    char target[256];
    int64_t content_length;   /* -1: none stated */
    bool chunked;
    bool close;               /* the sender will close after this message */
};

static inline bool field_is(const char *line, size_t length, const char *name)
{
    size_t n = strlen(name);
    return length > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

static inline bool value_is(const char *value, size_t length, const char *wanted)
{
    return length == strlen(wanted) && strncasecmp(value, wanted, length) == 0;
}

/* Decimal digits and nothing else; -1 when it is not that. */
static inline int64_t decimal(const char *text, size_t length)
{
    int64_t value = 0;
    if (length == 0 || length > 18)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static inline bool start_line(struct head *head, const char *line, size_t length)
{
    if (length >= 12 && memcmp(line, "HTTP/1.", 7) == 0) {
        head->status = (int)decimal(line + 9, 3);
        head->close = line[7] == '0';
        return line[8] == ' ' && head->status >= 100;
    }
    const char *space = memchr(line, ' ', length);
    const char *last = memrchr(line, ' ', length);
    if (space == NULL || last == space || (size_t)(space - line) >= sizeof head->method ||
        (size_t)(last - space) > sizeof head->target)
        return false;
    memcpy(head->method, line, (size_t)(space - line));
    memcpy(head->target, space + 1, (size_t)(last - space) - 1);
    head->close = strncmp(last + 1, "HTTP/1.0", 8) == 0;
    return true;
}

static inline bool header_line(struct head *head, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (colon == NULL || colon == line || colon[-1] == ' ' || line[0] == ' ' || line[0] == '\t')
        return false;
    const char *value = colon + 1, *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t n = (size_t)(end - value);
    if (field_is(line, length, "content-length")) {
        if (head->content_length >= 0)
            return false;
        head->content_length = decimal(value, n);
        return head->content_length >= 0;
    }
    if (field_is(line, length, "transfer-encoding")) {
        if (head->chunked)
            return false;
        head->chunked = value_is(value, n, "chunked");
        return head->chunked;
    }
    if (field_is(line, length, "connection")) {
        if (value_is(value, n, "close"))
            head->close = true;
        else if (value_is(value, n, "keep-alive"))
            head->close = false;
    }
    return true;
}

/* 1: `head` is filled in, 0: more bytes are needed, -1: this is not HTTP/1.1. */
static inline int head_parse(struct head *head, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (end == NULL)
        return length >= HEAD_MAX ? -1 : 0;
    memset(head, 0, sizeof *head);
    head->content_length = -1;
    head->length = (size_t)(end - data) + 4;
    const char *line = data;
    bool good = true;
    while (good && line < end + 2) {
        const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        size_t n = (size_t)(stop - line);
        good = line == data ? start_line(head, line, n) : header_line(head, line, n);
        line = stop + 2;
    }
    return good && !(head->chunked && head->content_length >= 0) ? 1 : -1;
}

/* ---- bodies ------------------------------------------------------------------------------------------ */

enum body_state {
    BODY_DONE, BODY_LENGTH, BODY_UNTIL_CLOSE,
    CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF,
    TRAILER_START, TRAILER_LINE, TRAILER_LF, LAST_LF,
};

struct body {
    enum body_state state;
    uint64_t left;            /* of a length-framed body or of the chunk at hand */
    int digits;               /* of the chunk size at hand */
};

typedef void body_sink(void *owner, const char *data, size_t length);

static inline struct body body_of_request(const struct head *head)
{
    struct body body = { .state = BODY_DONE };
    if (head->chunked)
        body.state = CHUNK_SIZE;
    else if (head->content_length > 0)
        body = (struct body){ .state = BODY_LENGTH, .left = (uint64_t)head->content_length };
    return body;
}

static inline struct body body_of_answer(const struct head *head)
{
    if (!head->chunked && head->content_length < 0 && head->status != 204 && head->status != 304)
        return (struct body){ .state = BODY_UNTIL_CLOSE };
    return body_of_request(head);
}

static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a chunk's frame; false when the frame is broken. */
static inline bool chunk_frame(struct body *body, char c)
{
    switch (body->state) {
    case CHUNK_SIZE:
        if (hex_digit(c) >= 0 && body->digits < 15) {
            body->left = body->left * 16 + (uint64_t)hex_digit(c);
            body->digits++;
            return true;
        }
        body->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
        return body->digits > 0 && (c == '\r' || c == ';');
    case CHUNK_EXTENSION:
        if (c == '\r')
            body->state = CHUNK_SIZE_LF;
        return c != '\n';
    case CHUNK_SIZE_LF:
        body->digits = 0;
        body->state = body->left > 0 ? CHUNK_DATA : TRAILER_START;
        return c == '\n';
    case CHUNK_DATA_CR:
        body->state = CHUNK_DATA_LF;
        return c == '\r';
    case CHUNK_DATA_LF:
        body->state = CHUNK_SIZE;
        return c == '\n';
    case TRAILER_START:
        body->state = c == '\r' ? LAST_LF : TRAILER_LINE;
        return c != '\n';
    case TRAILER_LINE:
        if (c == '\r')
            body->state = TRAILER_LF;
        return c != '\n';
    case TRAILER_LF:
        body->state = TRAILER_START;
        return c == '\n';
    case LAST_LF:
        body->state = BODY_DONE;
        return c == '\n';
    default:
        return false;
    }
}

/* Hand the payload in `data` to `sink`. Returns the bytes used up (fewer than `length` only when the body has
 * ended) or -1 when the framing is broken. */
static inline ssize_t body_feed(struct body *body, const char *data, size_t length, body_sink *sink,
                                void *owner)
{
    size_t used = 0;
    while (used < length && body->state != BODY_DONE) {
        size_t n = length - used;
        if (body->state == BODY_LENGTH || body->state == CHUNK_DATA) {
            if (n > body->left)
                n = body->left;
            sink(owner, data + used, n);
            body->left -= n;
            if (body->left == 0)
                body->state = body->state == BODY_LENGTH ? BODY_DONE : CHUNK_DATA_CR;
        } else if (body->state == BODY_UNTIL_CLOSE) {
            sink(owner, data + used, n);
        } else {
            if (!chunk_frame(body, data[used]))
                return -1;
            n = 1;
        }
        used += n;
    }
    return (ssize_t)used;
}

#endif
