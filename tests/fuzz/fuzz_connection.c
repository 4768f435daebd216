/* All that a client says on one socket, from the greeting to the end, in pieces as the input has them: the server must hang
 * up by itself once the client has, and keep nothing.
 *
 * The last byte chooses the pieces, and whether the client leaves before it has read all. */
#include "server/handshake.h"
#include "tests/fuzz/one_worker.h"

enum { DISK = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop loop;
static struct handshakes handshakes;
static struct exports exports;
static const struct tls no_tls;
static struct one_worker one;

static void on_ready(struct handshakes *all, struct session *session)
{
	(void)all;
	one_worker_serve(&one, session);
	loop_stop(&loop);
}

static void on_lost(struct handshakes *all)
{
	(void)all;
	loop_stop(&loop);
}

static void begin(void)
{
	one_worker_begin(&one, DISK);
	exports_init(&exports);
	require(exports_insert(&exports, &one.export) == 0);
	require(loop_init(&loop, false) == 0);
	handshakes_init(&handshakes, &loop, &exports, &no_tls, 60, on_ready);
	handshakes.lost = on_lost;
}

struct client {
	pthread_t thread;
	int fd;
	const uint8_t *data;
	size_t size;
	uint8_t how;
};

static size_t piece_of(const struct client *client, size_t at)
{
	size_t left = client->size - at, piece = 1 + (client->how >> 1) * 4u;

	return piece < left && !(client->how & 128) ? piece : left;
}

static void *run_client(void *argument)
{
	struct client *client = argument;
	uint8_t rest[65536];
	size_t piece;

	for (size_t at = 0; at < client->size; at += piece) {
		piece = piece_of(client, at);
		if (send(client->fd, client->data + at, piece, MSG_NOSIGNAL) < 0)
			break;
	}
	if (!(client->how & 1) && !shutdown(client->fd, SHUT_WR))
		while (recv(client->fd, rest, sizeof(rest), 0) > 0)
			;
	close(client->fd);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client client = { .data = data, .size = size, .how = size > 0 ? data[size - 1] : 0 };
	int fds[2];

	if (!one.export.disk)
		begin();
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	client.fd = fds[1];
	require(pthread_create(&client.thread, NULL, run_client, &client) == 0);
	handshake_start(&handshakes, fds[0], &(struct peer){ 0 }, one_worker_admit(&one));
	if (handshakes.first)
		loop_run(&loop);
	one_worker_join(&one, client.thread);
	require(!handshakes.first);
	one_worker_is_idle(&one);
	return 0;
}
