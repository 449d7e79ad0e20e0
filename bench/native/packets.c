/* Requests of each protocol, and whether a reply is the right one. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static void put32(uint8_t *to, uint32_t v) {
    to[0] = (uint8_t)(v >> 24);
    to[1] = (uint8_t)(v >> 16);
    to[2] = (uint8_t)(v >> 8);
    to[3] = (uint8_t)v;
}

uint32_t get32(const uint8_t *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* Resolution of all public values (RFC 3652 sections 2.2 and 3.2), version 2.11. keep: the
 * connection stays open. */
int irp_request(uint8_t *out, const struct key *key, uint32_t id, int keep) {
    int body = 4 + key->size + 8, message = 24 + body + 4;
    memset(out, 0, 44);
    out[0] = out[2] = 2;
    out[1] = out[3] = 11;
    put32(out + 8, id);
    put32(out + 16, (uint32_t)message);
    put32(out + 20, 1);
    put32(out + 28, 0x11000000u | (keep ? 0x02000000u : 0));
    out[32] = out[33] = 0xFF;
    put32(out + 36, (uint32_t)time(NULL) + 43200);
    put32(out + 40, (uint32_t)body);
    put32(out + 44, (uint32_t)key->size);
    memcpy(out + 48, key->text, (size_t)key->size);
    memset(out + 48 + key->size, 0, 12);
    return 20 + message;
}

/* Its response code is the expected one; an answer with values repeats the name. */
int irp_is_right(const uint8_t *reply, int size, const struct key *key) {
    static const uint32_t codes[] = {[PRESENT] = 1, [ABSENT] = 100, [WITHHELD] = 200};
    if (size < 44 || get32(reply + 24) != codes[options.expected]) return 0;
    if (options.expected != PRESENT) return 1;
    if (size < 48 + key->size || (int)get32(reply + 44) != key->size) return 0;
    return !strncasecmp((const char *)reply + 48, key->text, (size_t)key->size);
}

/* A question for NAPTR with EDNS (1232 octets), as resolvers ask. 0: no domain name. */
int dns_request(uint8_t *out, const struct key *key, uint16_t id) {
    static const uint8_t end[] = {0, 0, 35, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0};
    int at = 12;
    memset(out, 0, 12);
    out[0] = (uint8_t)(id >> 8);
    out[1] = (uint8_t)id;
    out[5] = out[11] = 1;
    for (const char *label = key->text, *stop = key->text + key->size; label < stop;) {
        const char *dot = memchr(label, '.', (size_t)(stop - label));
        long size = (dot ? dot : stop) - label;
        if (size > 63 || at + size > 260) return 0;
        if (size) {
            out[at++] = (uint8_t)size;
            memcpy(out + at, label, (size_t)size);
            at += (int)size;
        }
        label += size + 1;
    }
    memcpy(out + at, end, sizeof end);
    return at + (int)sizeof end;
}

int dns_is_right(const uint8_t *reply, int size) {
    if (size < 12) return 0;
    int code = reply[3] & 15, answers = reply[6] << 8 | reply[7];
    if (options.expected == PRESENT) return code == 0 && answers;
    return options.expected == ABSENT ? code == 3 : code == 0 && !answers;
}

/* GET of a path, or of a name below /api/handles/. */
int http_request(uint8_t *out, const struct key *key) {
    char *to = (char *)out;
    int at = sprintf(to, key->text[0] == '/' ? "GET " : "GET /api/handles/");
    for (int i = 0; i < key->size; i++) {
        unsigned char c = (unsigned char)key->text[i];
        if (c <= 32 || c >= 127 || strchr("?#%\"<>", c))
            at += sprintf(to + at, "%%%02X", c);
        else
            to[at++] = (char)c;
    }
    return at + sprintf(to + at, " HTTP/1.1\r\nHost: %.200s:%d\r\n\r\n", options.host, options.port);
}

/* The octets of a chunked body with its end (RFC 9112 §7.1, without trailers); 0: not all is here. */
static int chunked_size(uint8_t *body, int size) {
    int at = 0;
    for (;;) {
        uint8_t *line = memchr(body + at, '\n', (size_t)(size - at));
        if (!line) return 0;
        long octets = strtol((char *)body + at, NULL, 16);
        at = (int)(line - body) + 1;
        if (octets < 0 || octets > size - at - 2) return 0;
        at += (int)octets + 2;
        if (!octets) return at;
    }
}

/* The octets of a whole response; 0: not all of it is here. reply: with room for one more octet. */
int http_size(uint8_t *reply, int size) {
    uint8_t *end = memmem(reply, (size_t)size, "\r\n\r\n", 4);
    if (!end) return 0;
    int head = (int)(end - reply) + 4;
    *end = 0;
    const char *length = strcasestr((char *)reply, "\ncontent-length:");
    const char *chunked = strcasestr((char *)reply, "\ntransfer-encoding: chunked");
    *end = '\r';
    int body = length ? atoi(length + 16) : 0;
    if (chunked && !(body = chunked_size(reply + head, size - head))) return 0;
    return size >= head + body ? head + body : 0;
}

/* A record without public values is an answer too: code 200 of the Handle interface. */
int http_is_right(const uint8_t *reply, int size) {
    static const char none[] = "\"responseCode\":200";
    const char *status = options.expected == ABSENT ? " 404" : " 200";
    if (size < 12 || memcmp(reply + 8, status, 4)) return 0;
    return options.expected != WITHHELD || memmem(reply, (size_t)size, none, sizeof none - 1);
}

/* Whether the server will close the connection behind this response. */
int http_is_last(const uint8_t *reply, int size) {
    static const char close[] = "\nConnection: close\r";
    const uint8_t *end = memmem(reply, (size_t)size, "\r\n\r\n", 4);
    return end && memmem(reply, (size_t)(end - reply) + 2, close, sizeof close - 1);
}

/* GET of a key (Redis serialization protocol 2). */
int redis_request(uint8_t *out, const struct key *key) {
    return sprintf((char *)out, "*2\r\n$3\r\nGET\r\n$%d\r\n%.*s\r\n", key->size, key->size, key->text);
}

/* The octets of a whole bulk string; 0: not all of it is here. */
int redis_size(const uint8_t *reply, int size) {
    const uint8_t *end = memchr(reply, '\n', (size_t)size);
    if (!end) return 0;
    int head = (int)(end - reply) + 1, body = reply[0] == '$' ? atoi((const char *)reply + 1) : -1;
    int whole = body < 0 ? head : head + body + 2;
    return size >= whole ? whole : 0;
}

int redis_is_right(const uint8_t *reply, int size) {
    return size > 2 && reply[0] == '$' && (reply[1] != '-') == (options.expected == PRESENT);
}
