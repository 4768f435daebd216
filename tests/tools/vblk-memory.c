/* tests/tools/vblk-memory.c -- the virtio-blk device alone, over memory instead of an NBD server: what is left when a
 * bridge's network and server are taken away, for driving the device by load generators and VMMs.
 *
 * Prints "ready" when it listens. SIGTERM ends it; it then prints how many operations of each kind its disk was asked
 * for. With --later, nothing completes inside its own submission, and the last one of a turn completes first.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "virtio/vhost_user.h"

enum { THREADS_MAX = 16 };

static char *bytes;
static atomic_ullong done_count[BLOCK_OPS], fua_count;

/* One a thread; all share the bytes, as the sessions of one export do. */
struct memory_disk {
	struct disk disk;
	struct loop *loop;
	struct block_req *first; /* with --later: to be completed in the next turn, the last one first */
	bool later;
	ev_prepare on_turn;
	ev_idle awake;
	struct loop own_loop;
	pthread_t thread;
	struct mail stop;
};

#ifdef __SANITIZE_THREAD__
/* That threads do not touch the same bytes at a time is the guest's to see to, which no sanitizer can know. */
static pthread_mutex_t for_the_sanitizer = PTHREAD_MUTEX_INITIALIZER;
#endif

static void move_bytes(const struct block_req *req)
{
	char *at = bytes + req->offset;

	for (unsigned i = 0; i < req->iov_count; i++) {
		if (req->op == BLOCK_READ)
			memcpy(req->iov[i].iov_base, at, req->iov[i].iov_len);
		else
			memcpy(at, req->iov[i].iov_base, req->iov[i].iov_len);
		at += req->iov[i].iov_len;
	}
	if (req->op == BLOCK_ZERO)
		memset(at, 0, req->length);
	/* What a reader finds there is undefined: let it be something that a mistaken reader notices. */
	if (req->op == BLOCK_TRIM)
		memset(at, 0x5a, req->length);
}

static void carry_out(const struct block_req *req)
{
#ifdef __SANITIZE_THREAD__
	pthread_mutex_lock(&for_the_sanitizer);
#endif
	move_bytes(req);
#ifdef __SANITIZE_THREAD__
	pthread_mutex_unlock(&for_the_sanitizer);
#endif
	atomic_fetch_add_explicit(&done_count[req->op], 1, memory_order_relaxed);
	if (req->flags & BLOCK_FUA)
		atomic_fetch_add_explicit(&fua_count, 1, memory_order_relaxed);
}

static int memory_submit(struct disk *disk, struct block_req *req)
{
	struct memory_disk *memory = container_of(disk, struct memory_disk, disk);

	carry_out(req);
	if (!memory->later)
		return 0;
	req->wait.next = memory->first;
	memory->first = req;
	ev_idle_start(memory->loop->ev, &memory->awake);
	return DISK_PENDING;
}

static const struct disk_ops memory_ops = { .submit = memory_submit };

static void on_turn(struct ev_loop *ev, ev_prepare *watcher, int revents)
{
	struct memory_disk *memory = watcher->data;
	struct block_req *req = memory->first, *next;

	(void)revents;
	memory->first = NULL;
	ev_idle_stop(ev, &memory->awake);
	for (; req; req = next) {
		next = req->wait.next;
		req->done(req, 0);
	}
}

static void on_awake(struct ev_loop *ev, ev_idle *watcher, int revents)
{
	(void)ev;
	(void)watcher;
	(void)revents;
}

static void *thread_main(void *arg)
{
	struct memory_disk *memory = arg;

	loop_run(&memory->own_loop);
	return NULL;
}

static void stop_loop(struct mail *mail)
{
	loop_stop(&container_of(mail, struct memory_disk, stop)->own_loop);
}

static void disk_start(struct memory_disk *memory, const struct disk_facts *facts, bool later)
{
	memory->disk.ops = &memory_ops;
	memory->disk.facts = *facts;
	memory->later = later;
	memory->loop = &memory->own_loop;
	memory->stop.read = stop_loop;
	if (loop_init(memory->loop, false))
		abort();
	ev_prepare_init(&memory->on_turn, on_turn);
	ev_idle_init(&memory->awake, on_awake);
	memory->on_turn.data = memory;
	ev_prepare_start(memory->loop->ev, &memory->on_turn);
	pthread_create(&memory->thread, NULL, thread_main, memory);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)) {
		perror(path);
		exit(1);
	}
	return fd;
}

static struct loop main_loop;
static struct vhost_user *vhost;

static void on_stopped(void *arg)
{
	(void)arg;
	loop_stop(&main_loop);
}

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	(void)revents;
	ev_signal_stop(ev, watcher);
	vhost_user_stop(vhost, on_stopped, NULL);
}

static uint64_t map_bytes(const char *file, uint64_t size)
{
	int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
	struct stat is;

	if (file && (fd < 0 || fstat(fd, &is))) {
		perror(file);
		exit(1);
	}
	if (file)
		size = (uint64_t)is.st_size;
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, fd, 0);
	if (bytes == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return size;
}

static void usage(void)
{
	fputs("vblk-memory --socket=PATH [--size=MIB | --file=FILE] [--queues=N] [--threads=N] "
	      "[--block=BYTES] [--data-max=BYTES]\n"
	      "            [--read-only] [--no-flush] [--no-fua] [--later] [--verbose]\n",
		stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "socket", 1, 0, 's' }, { "size", 1, 0, 'm' },
		{ "file", 1, 0, 'F' }, { "queues", 1, 0, 'q' }, { "threads", 1, 0, 't' },
		{ "block", 1, 0, 'b' }, { "data-max", 1, 0, 'd' }, { "read-only", 0, 0, 'r' },
		{ "no-flush", 0, 0, 'f' }, { "no-fua", 0, 0, 'u' }, { "later", 0, 0, 'l' },
		{ "verbose", 0, 0, 'v' }, { 0, 0, 0, 0 } };
	static struct memory_disk disks[THREADS_MAX];
	struct queue_thread threads[THREADS_MAX];
	struct virtio_blk_config config = {
		.facts = { .size = 64ull << 20,
			.block_size_min = 1,
			.block_size_preferred = 4096,
			.data_max = BLOCK_DATA_MAX,
			.volatile_cache = true,
			.can_flush = true,
			.can_fua = true,
			.can_trim = true,
			.can_zero = true },
		.num_queues = 4,
		.serial = "vblk-memory",
	};
	struct disk_facts *facts = &config.facts;
	enum log_level level = LOG_INFO;
	const char *path = NULL, *file = NULL;
	unsigned thread_count = 2;
	bool later = false;
	ev_signal on_term;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 's':
			path = optarg;
			break;
		case 'm':
			facts->size = strtoull(optarg, NULL, 0) << 20;
			break;
		case 'F':
			file = optarg;
			break;
		case 'q':
			config.num_queues = (unsigned)atoi(optarg);
			break;
		case 't':
			thread_count = (unsigned)atoi(optarg);
			break;
		case 'b':
			facts->block_size_min = (uint32_t)atoi(optarg);
			break;
		case 'd':
			facts->data_max = (uint32_t)atoi(optarg);
			break;
		case 'r':
			config.readonly = true;
			break;
		case 'f':
			facts->can_flush = false;
			break;
		case 'u':
			facts->can_fua = false;
			break;
		case 'l':
			later = true;
			break;
		case 'v':
			level = LOG_DEBUG;
			break;
		default:
			usage();
		}
	if (!path || thread_count == 0 || thread_count > THREADS_MAX)
		usage();
	log_open("vblk-memory", level);
	facts->size = map_bytes(file, facts->size);
	if (loop_init(&main_loop, true))
		return 1;
	ev_signal_init(&on_term, on_signal, SIGTERM);
	ev_signal_start(main_loop.ev, &on_term);
	for (unsigned i = 0; i < thread_count; i++) {
		disk_start(&disks[i], facts, later);
		threads[i] = (struct queue_thread){ disks[i].loop, &disks[i].disk };
	}
	if (vhost_user_new(&main_loop, listen_at(path), &config, threads, thread_count, &vhost))
		return 1;
	puts("ready");
	fflush(stdout);
	loop_run(&main_loop);
	for (unsigned i = 0; i < thread_count; i++) {
		loop_post(disks[i].loop, &disks[i].stop);
		pthread_join(disks[i].thread, NULL);
		ev_prepare_stop(disks[i].loop->ev, &disks[i].on_turn);
		loop_fini(disks[i].loop);
	}
	loop_fini(&main_loop);
	printf("read %llu write %llu flush %llu trim %llu zero %llu fua %llu\n", done_count[BLOCK_READ],
		done_count[BLOCK_WRITE], done_count[BLOCK_FLUSH], done_count[BLOCK_TRIM],
		done_count[BLOCK_ZERO], fua_count);
	return 0;
}
