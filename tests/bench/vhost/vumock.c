/* tests/bench/vhost/vumock.c -- a small vhost-user-blk device that marks the limit: its messages and its loop.
 *
 *   vumock SOCKET MIB [EVERY]                            a RAM disk: the floor of the transport alone; every so many
 *                                                        reads are answered wrong, to see --verify notice
 *   vumock SOCKET unix:PATH|tcp:HOST:PORT                a plain NBD bridge (split rings): what batching alone buys
 *
 * One thread, one front-end at a time. Not a device to use: an error of the NBD server's connection ends it. */
#include "mock.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

uint8_t *disk;
unsigned long corrupt_every, reads;

void fatal(const char *what)
{
	fprintf(stderr, "vumock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void disk_init(const char *what)
{
	size_t size = strtoull(what, NULL, 0) << 20;

	cfg = (struct blkcfg){ .capacity = size / 512,
		.seg_max = 254,
		.blk_size = 512,
		.num_queues = MOCK_QUEUES,
		.wce = 1,
		.max_discard = 32768,
		.max_discard_seg = 1,
		.discard_align = 1,
		.max_wz = 32768,
		.max_wz_seg = 1 };
	if (strchr(what, ':')) {
		nbd_connect(what);
		return;
	}
	disk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (disk == MAP_FAILED)
		fatal("mmap");
}

static int listen_on(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	unlink(sa.sun_path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 4))
		fatal(path);
	return fd;
}

/* No reply may land in memory that is gone. */
static void drain_nbd(void)
{
	while (nbd >= 0 && nbd_busy()) {
		struct pollfd p = { nbd, POLLIN, 0 };

		poll(&p, 1, -1);
		nbd_receive();
	}
}

static void on_replies(void)
{
	bool was_full = nbd_full();

	nbd_receive();
	for (int i = 0; i < MOCK_QUEUES; i++)
		if (was_full)
			run_ring(&rings[i]);
		else if (rings[i].on && rings[i].enabled && !rings[i].broken)
			notify(&rings[i]);
}

static void on_kick(struct ring *r)
{
	uint64_t kicks;

	(void)!read(r->kick, &kicks, 8);
	run_ring(r);
}

static void loop(int listener)
{
	enum { SOCKET = MOCK_QUEUES, NBD, POLLED };
	int front_end = -1;

	for (;;) {
		struct pollfd p[POLLED];

		for (int i = 0; i < MOCK_QUEUES; i++)
			p[i] = (struct pollfd){ rings[i].on ? rings[i].kick : -1, POLLIN, 0 };
		p[SOCKET] = (struct pollfd){ front_end < 0 ? listener : front_end, POLLIN, 0 };
		p[NBD] = (struct pollfd){ nbd, POLLIN, 0 };
		poll(p, POLLED, -1);
		if (p[NBD].revents)
			on_replies();
		if (p[SOCKET].revents && front_end < 0) {
			front_end = accept(listener, NULL, NULL);
		} else if (p[SOCKET].revents && !front_end_message(front_end)) {
			close(front_end);
			front_end = -1;
			drain_nbd();
			front_end_gone();
		}
		for (int i = 0; i < MOCK_QUEUES; i++)
			if (p[i].revents && rings[i].on)
				on_kick(&rings[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: vumock SOCKET MIB [EVERY] | vumock SOCKET unix:PATH|tcp:HOST:PORT\n");
		return 2;
	}
	corrupt_every = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;
	disk_init(argv[2]);
	loop(listen_on(argv[1]));
}
