/* client/bridge.c -- queue threads, their connections, and the device on top.
 *
 * B1  A thread's loop, links and disk are used by the main thread until pthread_create() and after pthread_join(), and
 *     in between by that thread alone.
 * B2  Nothing of a thread ends before the device says that none of its requests is left.
 */
#include "client/bridge.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "client/capacity.h"
#include "client/session_name.h"
#include "client/uri.h"
#include "conf/container.h"
#include "conf/log.h"
#include "conf/thread.h"
#include "virtio/vduse.h"
#include "virtio/vhost_user.h"

struct bridge_thread {
	struct loop loop;
	pthread_t id;
	struct mail stop;		      /* makes the loop end */
	struct disk *disk;		      /* owned: the stripe, once all links are there */
	struct link *links[STRIPE_LINKS_MAX]; /* owned until the stripe takes them */
	unsigned link_count;
};

struct bridge {
	const struct bridge_config *config; /* borrowed: outlives us, see bridge_config */
	char name[URI_SHOWN_SIZE];
	struct session_name session_name;
	unsigned dialled; /* connections that were made or tried */
	struct disk_facts facts;
	unsigned connections; /* of each thread */
	struct bridge_thread threads[BRIDGE_THREADS_MAX];
	unsigned thread_count;	  /* loops that were made */
	struct vhost_user *vhost; /* one of these two, while it serves */
	struct vduse *vduse;
	struct capacity *capacity; /* owned */
	struct loop *main;	   /* borrowed: while it serves */
	struct mail on_end;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* -- connecting --------------------------------------------------------------------------------------------------- */

struct dial {
	struct link_watch watch;
	struct loop *loop;
	bool failed;
	char *why; /* borrowed: bridge_new()'s caller's */
};

static void on_dialled(struct link_watch *watch, struct link *link, const char *why)
{
	struct dial *dial = container_of(watch, struct dial, watch);

	(void)link;
	if (why) {
		dial->failed = true;
		snprintf(dial->why, BRIDGE_WHY_SIZE, "%s", why);
	}
	loop_stop(dial->loop);
}

static int out_of_memory(char why[BRIDGE_WHY_SIZE])
{
	snprintf(why, BRIDGE_WHY_SIZE, "out of memory");
	return -1;
}

/* One more connection for @thread; its loop runs here until it is made. @promised: NULL for the first of all. */
static int dial(struct bridge *bridge, struct bridge_thread *thread, const struct disk_facts *promised,
	char why[BRIDGE_WHY_SIZE])
{
	struct dial dial = { .watch.dialled = on_dialled, .loop = &thread->loop, .why = why };
	char session[SESSION_NAME_SIZE];
	struct link_config config = {
		.loop = &thread->loop,
		.uri = bridge->config->uri,
		.name = bridge->name,
		.session = session,
		.replay_bytes = bridge->config->replay_bytes,
		.readonly = bridge->config->readonly,
		.watch = &dial.watch,
		.sizes = capacity_sizes(bridge->capacity, &thread->loop),
		.promised = promised,
	};
	struct link *link;

	session_name_text(&bridge->session_name, bridge->dialled++, session);
	if (!config.sizes || link_new(&config, &link))
		return out_of_memory(why);
	capacity_add(config.sizes, link);
	thread->links[thread->link_count++] = link;
	loop_run(&thread->loop);
	return dial.failed ? -1 : 0;
}

static int add_thread(struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	int error = loop_init(&bridge->threads[bridge->thread_count].loop, false);

	if (error) {
		snprintf(why, BRIDGE_WHY_SIZE, "event loop: %s", strerror(-error));
		return -1;
	}
	bridge->thread_count++;
	return 0;
}

static unsigned cpu_count(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);
}

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many threads and connections the export and the configuration allow. */
static unsigned choose_threads(struct bridge *bridge)
{
	const struct bridge_config *config = bridge->config;
	unsigned wanted = config->threads ? config->threads : min(cpu_count(), BRIDGE_THREADS_USUAL);
	unsigned threads = min(config->num_queues, wanted);

	bridge->connections = 1;
	if (config->replay_bytes)
		return 1;
	bridge->connections = config->connections;
	if (bridge->facts.can_multi_conn || threads * config->connections == 1)
		return threads;
	log_info("%s: the server does not promise that several connections see the same data: one connection "
		 "and one thread serve all queues",
		bridge->name);
	bridge->connections = 1;
	return 1;
}

static int connect_first(struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	struct bridge_thread *thread = &bridge->threads[0];
	char text[BRIDGE_WHY_SIZE];

	if (add_thread(bridge, why) || dial(bridge, thread, NULL, why))
		return -1;
	bridge->facts = link_disk(thread->links[0])->facts;
	log_info("%s: %s", bridge->name, offer_text(link_offer(thread->links[0]), text, sizeof(text)));
	return 0;
}

/* No guest can ask for a fast zero or a hint, and one connection needs no others: a server that comes back without is welcome. */
static void promise_what_is_used(struct bridge *bridge, unsigned threads)
{
	bridge->facts.can_fast_zero = bridge->facts.can_cache = false;
	bridge->facts.can_multi_conn &= threads * bridge->connections > 1;
	link_promise(bridge->threads[0].links[0], &bridge->facts);
}

static int connect_others(struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	unsigned threads = choose_threads(bridge);

	promise_what_is_used(bridge, threads);
	while (bridge->thread_count < threads)
		if (add_thread(bridge, why))
			return -1;
	for (unsigned i = 1; i < threads * bridge->connections; i++) {
		char reason[BRIDGE_WHY_SIZE];

		if (dial(bridge, &bridge->threads[i % threads], &bridge->facts, reason) == 0)
			continue;
		snprintf(why, BRIDGE_WHY_SIZE,
			"connection %u of %u: %.300s (if the server admits fewer: --threads=1 "
			"--connections=1)",
			i + 1, threads * bridge->connections, reason);
		return -1;
	}
	return 0;
}

static int make_disks(struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	for (unsigned i = 0; i < bridge->thread_count; i++) {
		struct bridge_thread *thread = &bridge->threads[i];

		if (stripe_new(thread->links, thread->link_count, &bridge->facts, &thread->disk))
			return out_of_memory(why);
		thread->link_count = 0;
	}
	return 0;
}

static void on_resized(void *arg, uint64_t bytes)
{
	struct bridge *bridge = arg;

	if (bridge->vduse)
		vduse_resize(bridge->vduse, bytes);
	else
		vhost_user_resize(bridge->vhost, bytes);
}

int bridge_new(const struct bridge_config *config, struct bridge **out, char why[BRIDGE_WHY_SIZE])
{
	struct bridge *bridge = calloc(1, sizeof(*bridge));
	struct capacity_config capacity = { .uri = config->uri, .changed = on_resized, .arg = bridge };
	char reason[BRIDGE_WHY_SIZE - URI_SHOWN_SIZE - 2];

	if (!bridge)
		return out_of_memory(why);
	bridge->config = config;
	uri_shown(config->uri, bridge->name);
	session_name_init(&bridge->session_name, config->place);
	capacity.name = bridge->name;
	bridge->capacity = capacity_new(&capacity);
	if (!bridge->capacity) {
		free(bridge);
		return out_of_memory(why);
	}
	if (connect_first(bridge, why) || connect_others(bridge, why) || make_disks(bridge, why)) {
		snprintf(reason, sizeof(reason), "%s", why);
		snprintf(why, BRIDGE_WHY_SIZE, "%s: %s", bridge->name, reason);
		bridge_free(bridge);
		return -1;
	}
	*out = bridge;
	return 0;
}

static void free_thread(struct bridge_thread *thread)
{
	for (unsigned i = 0; i < thread->link_count; i++)
		link_free(thread->links[i]);
	disk_free(thread->disk);
	loop_fini(&thread->loop);
}

void bridge_free(struct bridge *bridge)
{
	for (unsigned i = 0; i < bridge->thread_count; i++)
		free_thread(&bridge->threads[i]);
	capacity_free(bridge->capacity);
	free(bridge);
}

/* -- threads ------------------------------------------------------------------------------------------------------ */

static void *run_thread(void *arg)
{
	loop_run_quickly(&((struct bridge_thread *)arg)->loop);
	return NULL;
}

static void read_stop(struct mail *mail)
{
	loop_stop(&container_of(mail, struct bridge_thread, stop)->loop);
}

static void stop_threads(struct bridge *bridge, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		bridge->threads[i].stop.read = read_stop;
		loop_post(&bridge->threads[i].loop, &bridge->threads[i].stop);
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(bridge->threads[i].id, NULL);
}

static int start_threads(struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	for (unsigned i = 0; i < bridge->thread_count; i++) {
		struct bridge_thread *thread = &bridge->threads[i];
		int error = thread_start(&thread->id, run_thread, thread);

		if (!error)
			continue;
		stop_threads(bridge, i);
		snprintf(why, BRIDGE_WHY_SIZE, "thread: %s", strerror(-error));
		return -1;
	}
	return 0;
}

/* What a device is made of; @queues: one for each thread. */
static struct virtio_blk_config device_config(
	struct bridge *bridge, struct queue_thread queues[BRIDGE_THREADS_MAX])
{
	for (unsigned i = 0; i < bridge->thread_count; i++)
		queues[i] = (struct queue_thread){ &bridge->threads[i].loop, bridge->threads[i].disk };
	return (struct virtio_blk_config){
		.facts = bridge->facts,
		.num_queues = bridge->config->num_queues,
		.readonly = bridge->config->readonly,
		.serial = bridge->config->serial,
	};
}

/* Returns 0; or -1 with the reason in @why and no thread running. */
static int threads_begin(struct bridge *bridge, struct loop *main, char why[BRIDGE_WHY_SIZE])
{
	struct bridge_thread *first = &bridge->threads[0];

	bridge->main = main;
	if (capacity_start(bridge->capacity, main, bridge->facts.size, first->disk, &first->loop))
		return out_of_memory(why);
	return start_threads(bridge, why);
}

int bridge_serve(struct bridge *bridge, struct loop *main, int listen_fd, char why[BRIDGE_WHY_SIZE])
{
	struct queue_thread queues[BRIDGE_THREADS_MAX];
	struct virtio_blk_config config = device_config(bridge, queues);
	int error;

	if (threads_begin(bridge, main, why))
		return -1;
	error = vhost_user_new(main, listen_fd, &config, queues, bridge->thread_count, &bridge->vhost);
	if (error) {
		stop_threads(bridge, bridge->thread_count);
		snprintf(why, BRIDGE_WHY_SIZE, "%s: cannot be offered as a device: %s", bridge->name,
			strerror(-error));
		return -1;
	}
	capacity_watch(bridge->capacity);
	return 0;
}

/* To have memory free, the kernel may write to this disk: what we allocate must not wait for that. Threads inherit it. */
static void serve_writeback(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		log_warning(
			"cannot keep clear of the kernel's own writes when memory is short: %s (that takes "
			"CAP_SYS_RESOURCE)",
			strerror(errno));
}

int bridge_attach(struct bridge *bridge, struct loop *main, const char *name, void (*failed)(void *arg),
	void *arg, char why[BRIDGE_WHY_SIZE])
{
	struct queue_thread queues[BRIDGE_THREADS_MAX];
	struct virtio_blk_config config = device_config(bridge, queues);

	static_assert(BRIDGE_WHY_SIZE >= VDUSE_WHY_SIZE, "room for the device's reason");
	serve_writeback();
	if (threads_begin(bridge, main, why))
		return -1;
	if (vduse_new(main, name, &config, queues, bridge->thread_count, failed, arg, &bridge->vduse, why)) {
		stop_threads(bridge, bridge->thread_count);
		return -1;
	}
	capacity_watch(bridge->capacity);
	return 0;
}

void bridge_look(struct bridge *bridge)
{
	capacity_look(bridge->capacity);
}

/* Behind the last letter of a thread that is no more. */
static void read_end(struct mail *mail)
{
	struct bridge *bridge = container_of(mail, struct bridge, on_end);
	void (*stopped)(void *) = bridge->stopped;
	void *stopped_arg = bridge->stopped_arg;

	bridge_free(bridge);
	stopped(stopped_arg);
}

static void on_device_stopped(void *arg)
{
	struct bridge *bridge = arg;

	stop_threads(bridge, bridge->thread_count);
	capacity_stop(bridge->capacity);
	bridge->on_end.read = read_end;
	loop_post(bridge->main, &bridge->on_end);
}

void bridge_stop(struct bridge *bridge, void (*stopped)(void *arg), void *arg)
{
	bridge->stopped = stopped;
	bridge->stopped_arg = arg;
	if (bridge->vduse)
		vduse_stop(bridge->vduse, on_device_stopped, bridge);
	else
		vhost_user_stop(bridge->vhost, on_device_stopped, bridge);
}
