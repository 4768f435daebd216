/* disk-load PATH MODE read|write BYTES REQUESTS DEPTH [fua] [flush=N] -- what a request costs below the network: random
 * requests of BYTES each on cache_open(PATH, MODE), DEPTH in flight on one ring, a flush after every N.
 *
 * Prints wall and CPU time a request; PATH is overwritten. For choosing between ways to do the same. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cache/cache.h"
#include "conf/container.h"

enum { DEPTH_MAX = 1024 };

static struct load {
	struct disk *disk;
	struct uring ring;
	enum block_op op;
	unsigned flags, seed, flush_every;
	size_t bytes;
	unsigned long left, in_flight, since_flush, failures;
} load;

static struct slot {
	struct block_req req;
	struct iovec iov;
	char *data;
} slots[DEPTH_MAX];

static void on_done(struct block_req *req, int status);

static int submit_next(struct slot *slot)
{
	uint64_t blocks = load.disk->facts.size / load.bytes;

	load.seed = load.seed * 1103515245 + 12345;
	slot->req.ring = &load.ring;
	slot->req.done = on_done;
	if (load.flush_every && ++load.since_flush >= load.flush_every) {
		load.since_flush = 0;
		slot->req.op = BLOCK_FLUSH;
		return disk_submit(load.disk, &slot->req);
	}
	slot->iov = (struct iovec){ .iov_base = slot->data, .iov_len = load.bytes };
	slot->req.op = load.op;
	slot->req.flags = load.flags;
	slot->req.offset = (load.seed >> 4) % blocks * load.bytes;
	slot->req.length = load.bytes;
	slot->req.iov = &slot->iov;
	slot->req.iov_count = 1;
	return disk_submit(load.disk, &slot->req);
}

static void start(struct slot *slot)
{
	while (load.left > 0) {
		int status;

		load.left--;
		status = submit_next(slot);
		if (status == DISK_PENDING) {
			load.in_flight++;
			return;
		}
		load.failures += status != 0;
	}
}

static void on_done(struct block_req *req, int status)
{
	load.failures += status != 0;
	load.in_flight--;
	start(container_of(req, struct slot, req));
	if (load.in_flight == 0)
		uring_stop(&load.ring);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void run(unsigned depth)
{
	unsigned long requests = load.left;
	double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

	for (unsigned i = 0; i < depth; i++) {
		slots[i].data = aligned_alloc(4096, (load.bytes + 4095) / 4096 * 4096);
		memset(slots[i].data, (int)i + 1, load.bytes);
		start(&slots[i]);
	}
	if (load.in_flight > 0)
		uring_run(&load.ring);
	wall = seconds(CLOCK_MONOTONIC) - wall;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("%.2f us wall, %.2f us CPU a request, %lu failures\n", wall / (double)requests * 1e6,
		cpu / (double)requests * 1e6, load.failures);
}

int main(int argc, char **argv)
{
	char why[256];
	int mode, depth;

	if (argc < 7 || (mode = cache_mode_named(argv[2])) < 0 || (depth = atoi(argv[6])) > DEPTH_MAX) {
		fprintf(stderr,
			"usage: disk-load PATH MODE read|write BYTES REQUESTS DEPTH [fua] [flush=N]\n");
		return 2;
	}
	if (cache_open(argv[1], (enum cache_mode)mode, false, &load.disk, why, sizeof(why)) < 0) {
		fprintf(stderr, "disk-load: %s\n", why);
		return 1;
	}
	load.op = strcmp(argv[3], "read") == 0 ? BLOCK_READ : BLOCK_WRITE;
	load.bytes = strtoul(argv[4], NULL, 10);
	load.left = strtoul(argv[5], NULL, 10);
	load.seed = 1;
	for (int i = 7; i < argc; i++)
		if (strcmp(argv[i], "fua") == 0)
			load.flags = BLOCK_FUA;
		else
			sscanf(argv[i], "flush=%u", &load.flush_every);
	if (uring_init(&load.ring) < 0)
		return 1;
	run((unsigned)depth);
	uring_fini(&load.ring);
	disk_free(load.disk);
	return load.failures != 0;
}
