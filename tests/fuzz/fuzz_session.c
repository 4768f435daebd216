/* A whole transmission phase on a socket, in any form of requests, against a disk of memory: the session must end by
 * itself, leave nothing behind, and answer in chunks that a client can tell apart.
 *
 * The input is a list of requests, most with the right magic number and near the disk's range: a fuzzer that has to find
 * those first finds little else. What is left of it follows as it is. Some sessions meet fault rules, which are removed when
 * the client has waited for a moment. */
#include <poll.h>
#include <stdio.h>

#include "server/command.h"
#include "server/meta_query.h"
#include "server/nbd_wire.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/one_worker.h"

/* More than a read may ask for here, so that replies come in parts; less than what makes a run slow. */
enum { DISK = 192 << 10, STREAM_MAX = 64 << 10, REQUESTS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct one_worker one;

/* Most within the disk or just behind it, some anywhere. */
static uint64_t next_number(struct input *input, uint8_t kind)
{
	uint64_t value = next(input, 3);

	switch (kind % 4) {
	case 0:
		return value % (DISK + 1024);
	case 1:
		return value % 8192 / 512 * 512;
	case 2:
		return value % 64;
	default:
		return value << 40 | value;
	}
}

struct stream {
	uint8_t bytes[STREAM_MAX];
	size_t length;
};

static void add(struct stream *stream, const void *bytes, size_t length)
{
	if (length > STREAM_MAX - stream->length)
		length = STREAM_MAX - stream->length;
	memcpy(stream->bytes + stream->length, bytes, length);
	stream->length += length;
}

static void add_payload(struct stream *stream, struct input *input, uint64_t length)
{
	static const uint8_t zeroes[STREAM_MAX];
	size_t own = length < input->size ? length : input->size;

	add(stream, input->data, own < 32 ? own : 32);
	length -= own < 32 ? own : 32;
	add(stream, zeroes, length < STREAM_MAX ? length : STREAM_MAX);
}

/* Of a block status that names contexts: those there are, or others. */
static void add_contexts(struct stream *stream, struct input *input, uint64_t length)
{
	uint64_t effect = htobe64(next_number(input, (uint8_t)next(input, 1)));
	uint32_t ids = (uint32_t)next(input, 1), first = htobe32(ids & 3), second = htobe32(ids >> 2 & 3);
	uint8_t payload[COMMAND_CONTEXTS_MAX];

	memcpy(payload, &effect, sizeof(effect));
	memcpy(payload + sizeof(effect), &first, sizeof(first));
	memcpy(payload + sizeof(effect) + sizeof(first), &second, sizeof(second));
	add(stream, payload, length);
}

static void add_request(struct stream *stream, struct input *input, enum headers headers)
{
	uint8_t kind = (uint8_t)next(input, 1);
	uint16_t type = (uint16_t)(next(input, 1) % 10), flags = (uint16_t)next(input, 1);
	uint64_t offset = next_number(input, kind), length = next_number(input, kind >> 2);
	bool carries = type == NBD_CMD_WRITE;
	bool names = headers == HEADERS_EXTENDED && type == NBD_CMD_BLOCK_STATUS && kind & 64;

	if (names)
		length = sizeof(uint64_t) + (kind & 32 ? sizeof(uint32_t) : 0) +
			 (kind & 16 ? sizeof(uint32_t) : 0);
	if (kind & 16)
		flags = 0;
	if (headers == HEADERS_EXTENDED) {
		struct nbd_extended_request_header header = {
			.magic = htobe32(NBD_EXTENDED_REQUEST_MAGIC),
			.type = htobe16(type),
			.cookie = stream->length,
			.offset = htobe64(offset),
			.length = htobe64(length),
		};

		if (names || (carries && kind & 32))
			flags |= NBD_CMD_FLAG_PAYLOAD_LEN;
		header.flags = htobe16(flags);
		carries = flags & NBD_CMD_FLAG_PAYLOAD_LEN;
		add(stream, &header, sizeof(header));
	} else {
		struct nbd_request_header header = {
			.magic = htobe32(NBD_REQUEST_MAGIC),
			.flags = htobe16(flags),
			.type = htobe16(type),
			.cookie = stream->length,
			.offset = htobe64(offset),
			.length = htobe32((uint32_t)length),
		};

		length = (uint32_t)length;
		add(stream, &header, sizeof(header));
	}
	if (names)
		add_contexts(stream, input, length);
	else if (carries)
		add_payload(stream, input, length);
}

/* Rules that meet any request they are for; what a rule makes wait for long ends with the rule. */
static void add_rule(struct input *input)
{
	static const char *const actions[] = { "delay 50us", "delay 1h", "bandwidth 1M", "rate 1000",
		"error EIO", "error EOVERFLOW", "full 8K", "drop", "lie", "tear 512", "tear silently 512",
		"misdirect 4K", "misdirect 512", "ghost 100us", "corrupt bits 3", "corrupt sector",
		"corrupt old", "hold", "blackhole", "close before", "close amid", "close after", "close at 7",
		"close at 4000", "wrong cookie", "wrong magic", "wrong length", "double" };
	uint8_t which = (uint8_t)next(input, 1), when = (uint8_t)next(input, 1);
	char rule[FAULT_RULE_SIZE], why[256];

	snprintf(rule, sizeof(rule), "%s p 0.%u seed %u%s: %s", when & 1 ? "4K-64K" : "always", when / 16 + 1,
		when, when & 2 ? " times 3" : "", actions[which % (sizeof(actions) / sizeof(actions[0]))]);
	/* "always" and a number of times are too much. */
	if (when & 1 || !(when & 2))
		require(fault_set_add(&one.export.faults, rule, why, sizeof(why)) > 0);
}

static void remove_rules(void)
{
	fault_set_clear(&one.export.faults);
	worker_look(&one.worker);
}

/* The client. */

struct client {
	pthread_t thread;
	int fd;
	enum headers headers;
	bool leaves; /* before it has read all */
	bool faults; /* what comes may be broken */
	const struct stream *stream;
};

static bool receive(struct client *client, void *bytes, size_t length)
{
	ssize_t got = recv(client->fd, bytes, length, MSG_WAITALL);

	/* A server that hangs up on a bad request leaves what follows it unread, which resets the connection. */
	return got == (ssize_t)length;
}

/* Returns whether there was one. */
static bool take_chunk(struct client *client)
{
	static _Thread_local uint8_t payload[DISK + 64];
	uint8_t header[sizeof(struct nbd_extended_chunk_header)];
	uint64_t length;
	uint32_t magic;

	if (!receive(client, header, 4))
		return false;
	magic = nbd_get32(header);
	if (client->headers == HEADERS_STRUCTURED && magic == NBD_SIMPLE_REPLY_MAGIC)
		return receive(client, header, sizeof(struct nbd_simple_reply) - 4);
	if (client->headers == HEADERS_EXTENDED) {
		require(magic == NBD_EXTENDED_REPLY_MAGIC);
		if (!receive(client, header + 4, sizeof(struct nbd_extended_chunk_header) - 4))
			return false;
		length = nbd_get64(header + 24);
	} else {
		require(magic == NBD_STRUCTURED_REPLY_MAGIC);
		if (!receive(client, header + 4, sizeof(struct nbd_chunk_header) - 4))
			return false;
		length = nbd_get32(header + 16);
	}
	require(length <= sizeof(payload));
	return length == 0 || receive(client, payload, length);
}

/* Sends all, reads all that comes, and hangs up. */
static void *run_client(void *argument)
{
	struct client *client = argument;
	uint8_t rest[65536];

	/* The server may hang up before it has read all. */
	send(client->fd, client->stream->bytes, client->stream->length, MSG_NOSIGNAL);
	if (client->faults) {
		poll(&(struct pollfd){ .fd = client->fd, .events = POLLIN }, 1, 1);
		remove_rules();
	}
	if (client->leaves)
		recv(client->fd, rest, 100, MSG_DONTWAIT);
	else if (client->headers == HEADERS_SIMPLE || client->faults)
		shutdown(client->fd, SHUT_WR);
	else if (!shutdown(client->fd, SHUT_WR))
		while (take_chunk(client))
			;
	while (!client->leaves && recv(client->fd, rest, sizeof(rest), 0) > 0)
		;
	close(client->fd);
	return NULL;
}

static void serve(const struct stream *stream, size_t early, struct dialect dialect, bool leaves)
{
	struct client client = {
		.headers = dialect.headers, .leaves = leaves, .faults = fault_set_is_armed(&one.export.faults)
	};
	struct stream rest = { .length = stream->length - early };
	struct session *session;
	int fds[2];

	memcpy(rest.bytes, stream->bytes + early, rest.length);
	client.stream = &rest;
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	client.fd = fds[1];
	session = session_new(fds[0], &one.export, dialect, "fuzz", stream->bytes, early);
	require(session && pthread_create(&client.thread, NULL, run_client, &client) == 0);
	session_belong(session, one_worker_admit(&one));
	one_worker_serve(&one, session);
	one_worker_join(&one, client.thread);
	one_worker_is_idle(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stream stream;
	struct input input = { data, size };
	struct dialect dialect;
	uint8_t how;
	size_t early;

	if (!one.export.disk)
		one_worker_begin(&one, DISK);
	how = (uint8_t)next(&input, 1);
	early = next(&input, 1) * 8;
	for (unsigned rules = (unsigned)next(&input, 1) & 3; rules > 0; rules--)
		add_rule(&input);
	/* The server shuts down as the session begins. */
	one.worker.draining = early > 240 * 8;
	dialect = (struct dialect){ .headers = how % 3,
		.contexts = how % 3 != HEADERS_SIMPLE ? early / 8 & 6 : 0 };
	stream.length = 0;
	for (unsigned i = 0; i < (how >> 4) * 4u && i < REQUESTS_MAX && input.size > 0; i++)
		add_request(&stream, &input, dialect.headers);
	add(&stream, input.data, input.size);
	serve(&stream, early < stream.length ? early : stream.length, dialect, how & 8);
	return 0;
}
