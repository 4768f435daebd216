/* client/capacity.c -- what the connections and the probe were told, brought together.
 *
 * P1  capacity->bytes is what the guest was told, and what every link is promised.
 * P2  It grows only to what every connection was told in its latest handshake.
 * P3  It shrinks only when a connection that carries the guest's requests has refused what is past the new end.
 * P4  Connections are renewed for an answer of the probe alone, so at most once an interval, whatever servers say.
 */
#include "client/capacity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/probe.h"
#include "conf/container.h"
#include "conf/log.h"

struct capacity_link {
	struct capacity_link *next; /* owned by the capacity's list */
	struct link_sizes sizes;
	struct capacity *capacity; /* borrowed: has us in its list */
	struct loop *loop;	   /* borrowed: the link's */
	struct link *link;	   /* borrowed: lives as long as its loop runs */
	_Atomic uint64_t bytes;	   /* shared: the link writes: what its latest handshake said */
	struct mail renew;
	atomic_bool renew_posted; /* shared: the letter is under way to the link's thread */
};

/* A read of the last block that the guest knows: there on the disk's loop, and back. */
struct end_check {
	bool running;
	uint64_t told; /* by the probe */
	struct disk *disk;
	struct loop *loop;
	struct block_req req;
	struct iovec iov;
	void *buffer; /* owned: one block */
	int status;
	struct mail go, back;
};

struct capacity {
	struct capacity_config config;
	struct loop *main; /* borrowed; NULL before the start */
	bool over;
	uint64_t bytes;
	struct capacity_link *links; /* owned */
	struct probe *probe;	     /* owned */
	struct mail sized;
	atomic_bool sized_posted; /* shared: the letter is under way to the main loop */
	struct end_check check;
	uint64_t warned; /* the smaller size that the log knows about; UINT64_MAX: none */
};

/* -- sizes from connections --------------------------------------------------------------------------------------- */

/* On the link's loop. */
static void on_sized(struct link_sizes *sizes, uint64_t bytes)
{
	struct capacity_link *link = container_of(sizes, struct capacity_link, sizes);
	struct capacity *capacity = link->capacity;

	if (atomic_exchange(&link->bytes, bytes) == bytes || !capacity->main)
		return;
	if (!atomic_exchange(&capacity->sized_posted, true))
		loop_post(capacity->main, &capacity->sized);
}

static void change(struct capacity *capacity, uint64_t bytes)
{
	capacity->bytes = bytes;
	capacity->warned = UINT64_MAX;
	for (struct capacity_link *link = capacity->links; link; link = link->next)
		link_promise_size(link->link, bytes);
	capacity->config.changed(capacity->config.arg, bytes);
}

void capacity_look(struct capacity *capacity)
{
	if (capacity->probe)
		probe_ask(capacity->probe);
}

static void read_sized(struct mail *mail)
{
	struct capacity *capacity = container_of(mail, struct capacity, sized);
	uint64_t least = UINT64_MAX, most = 0;

	capacity->sized_posted = false;
	if (capacity->over)
		return;
	for (struct capacity_link *link = capacity->links; link; link = link->next) {
		uint64_t bytes = link->bytes;

		least = bytes < least ? bytes : least;
		most = bytes > most ? bytes : most;
	}
	if (least > capacity->bytes) {
		log_info("%s: the export has grown from %" PRIu64 " to %" PRIu64 " bytes",
			capacity->config.name, capacity->bytes, least);
		change(capacity, least);
	} else if (most > capacity->bytes) {
		capacity_look(capacity);
	}
}

/* -- growth ------------------------------------------------------------------------------------------------------- */

/* On the link's loop. */
static void read_renew(struct mail *mail)
{
	struct capacity_link *link = container_of(mail, struct capacity_link, renew);

	link->renew_posted = false;
	link_renew(link->link);
}

static void renew_smaller(struct capacity *capacity, uint64_t bytes)
{
	for (struct capacity_link *link = capacity->links; link; link = link->next)
		if (link->bytes < bytes && !atomic_exchange(&link->renew_posted, true))
			loop_post(link->loop, &link->renew);
}

/* -- shrinking ---------------------------------------------------------------------------------------------------- */

static void warn(struct capacity *capacity, const char *what)
{
	uint64_t told = capacity->check.told;

	if (capacity->warned == told)
		return;
	capacity->warned = told;
	log_warning("%s: a new connection is told %" PRIu64 " bytes, less than the guest's %" PRIu64 ": %s",
		capacity->config.name, told, capacity->bytes, what);
}

static void shrink(struct capacity *capacity, uint64_t bytes)
{
	log_warning("%s: the export has SHRUNK from %" PRIu64 " to %" PRIu64
		    " bytes, and the guest's disk with it: what was past the new end is lost, and requests "
		    "there fail",
		capacity->config.name, capacity->bytes, bytes);
	for (struct capacity_link *link = capacity->links; link; link = link->next)
		link->bytes = bytes;
	change(capacity, bytes);
}

static void read_check(struct mail *mail)
{
	struct capacity *capacity = container_of(mail, struct capacity, check.back);
	struct end_check *check = &capacity->check;

	check->running = false;
	if (capacity->over || check->told >= capacity->bytes)
		return;
	if (check->status == -EINVAL)
		shrink(capacity, check->told);
	else
		warn(capacity, check->status
				       ? "the guest's disk keeps its size; its end cannot be read"
				       : "the guest's disk keeps its size, since the present connection "
					 "still has all of it; is this another export?");
}

/* On the disk's loop. */
static void on_check_done(struct block_req *req, int status)
{
	struct capacity *capacity = container_of(req, struct capacity, check.req);

	capacity->check.status = status;
	loop_post(capacity->main, &capacity->check.back);
}

static void read_go(struct mail *mail)
{
	struct end_check *check = container_of(mail, struct end_check, go);

	disk_finish(&check->req, disk_submit(check->disk, &check->req));
}

/* P3 */
static void check_end(struct capacity *capacity, uint64_t told)
{
	struct end_check *check = &capacity->check;
	uint64_t block = check->iov.iov_len;

	if (check->running || capacity->bytes < block)
		return;
	check->running = true;
	check->told = told;
	check->iov.iov_base = check->buffer;
	check->req = (struct block_req){
		.op = BLOCK_READ,
		.offset = (capacity->bytes & ~(block - 1)) - block,
		.length = block,
		.iov = &check->iov,
		.iov_count = 1,
		.done = on_check_done,
	};
	loop_post(check->loop, &check->go);
}

/* -- the probe ---------------------------------------------------------------------------------------------------- */

static void on_probed(void *arg, uint64_t bytes)
{
	struct capacity *capacity = arg;

	if (bytes > capacity->bytes)
		renew_smaller(capacity, bytes);
	else if (bytes < capacity->bytes)
		check_end(capacity, bytes);
	else
		capacity->warned = UINT64_MAX;
}

/* -- life --------------------------------------------------------------------------------------------------------- */

struct capacity *capacity_new(const struct capacity_config *config)
{
	struct capacity *capacity = calloc(1, sizeof(*capacity));

	if (!capacity)
		return NULL;
	capacity->config = *config;
	capacity->warned = UINT64_MAX;
	capacity->sized.read = read_sized;
	capacity->check.go.read = read_go;
	capacity->check.back.read = read_check;
	return capacity;
}

struct link_sizes *capacity_sizes(struct capacity *capacity, struct loop *loop)
{
	struct capacity_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->sizes.sized = on_sized;
	link->capacity = capacity;
	link->loop = loop;
	link->renew.read = read_renew;
	link->next = capacity->links;
	capacity->links = link;
	return &link->sizes;
}

void capacity_add(struct link_sizes *sizes, struct link *link)
{
	container_of(sizes, struct capacity_link, sizes)->link = link;
}

int capacity_start(
	struct capacity *capacity, struct loop *main, uint64_t bytes, struct disk *disk, struct loop *loop)
{
	struct end_check *check = &capacity->check;

	check->iov.iov_len = disk->facts.block_size_min;
	check->buffer = malloc(check->iov.iov_len);
	if (!check->buffer)
		return -ENOMEM;
	check->disk = disk;
	check->loop = loop;
	capacity->main = main;
	capacity->bytes = bytes;
	return 0;
}

void capacity_watch(struct capacity *capacity)
{
	struct probe_config config = {
		.loop = capacity->main,
		.uri = capacity->config.uri,
		.name = capacity->config.name,
		.sized = on_probed,
		.arg = capacity,
	};
	int error = probe_new(&config, &capacity->probe);

	if (error)
		log_warning("%s: the export's size is not watched: %s", config.name, strerror(-error));
}

void capacity_stop(struct capacity *capacity)
{
	capacity->over = true;
	probe_free(capacity->probe);
	capacity->probe = NULL;
}

void capacity_free(struct capacity *capacity)
{
	if (!capacity)
		return;
	while (capacity->links) {
		struct capacity_link *link = capacity->links;

		capacity->links = link->next;
		free(link);
	}
	free(capacity->check.buffer);
	free(capacity);
}
