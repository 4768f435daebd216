/* client/device.c -- a thread, its loop, and on it the socket and the bridge.
 *
 * D1  What is not marked shared belongs to the device's thread from device_new() on, until ended().
 */
#include "client/device.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/bridge.h"
#include "conf/container.h"
#include "conf/log.h"
#include "conf/socket.h"
#include "conf/thread.h"
#include "virtio/vduse_device.h"

/* Where the kernel has each name once. */
#define VDUSE_FOLDER "/dev/vduse/"

struct device {
	struct device_config config; /* owned; constant */
	struct bridge_config bridge_config;
	char vduse_place[sizeof(VDUSE_FOLDER) + VDUSE_NAME_LENGTH_MAX]; /* of a device of the kernel */
	bool patient;							/* constant */
	struct device_owner owner;
	pthread_t thread;
	struct loop loop;
	ev_timer on_retry;
	struct socket_path socket;
	struct bridge *bridge;	    /* owned while it serves */
	bool lost;		    /* by the kernel, and being stopped */
	char told[BRIDGE_WHY_SIZE]; /* what the log knows: not every try says the same again */

	struct mail look, stop, end;
	atomic_bool look_posted;	       /* shared: the letter is under way */
	atomic_bool stopping, serving, failed; /* shared: see device_is_*() */
};

/* -- beginning ---------------------------------------------------------------------------------------------------- */

/* Returns the descriptor, or -1 with the reason in @why. */
static int open_socket(struct device *device, char why[BRIDGE_WHY_SIZE])
{
	char reason[256];
	int fd = device->config.fd;

	if (device->config.socket_path) {
		fd = socket_listen(device->config.socket_path, 0777, &device->socket, reason, sizeof(reason));
		if (fd < 0)
			snprintf(why, BRIDGE_WHY_SIZE, "%.200s: %s", device->config.socket_path, reason);
		return fd;
	}
	if (socket_adopt(fd, reason, sizeof(reason))) {
		snprintf(why, BRIDGE_WHY_SIZE, "descriptor %d: %s", fd, reason);
		return -1;
	}
	return fd;
}

static void tell_ready(const struct device *device)
{
	/* Of the kernel's disk the log tells when it is there. */
	if (device->config.vduse)
		return;
	if (device->config.socket_path)
		log_info("listening on %s", device->config.socket_path);
	else
		log_info("listening on descriptor %d", device->config.fd);
}

static void on_stopped(void *arg)
{
	struct device *device = arg;

	device->bridge = NULL;
	loop_stop(&device->loop);
}

/* The log says why. */
static void on_lost(void *arg)
{
	struct device *device = arg;

	device->lost = true;
	bridge_stop(device->bridge, on_stopped, device);
}

/* Returns 0, or -1 with the reason in @why and nothing left behind. */
static int serve(struct device *device, struct bridge *bridge, char why[BRIDGE_WHY_SIZE])
{
	int fd;

	device->serving = true;
	device->lost = false;
	if (device->config.vduse) {
		if (bridge_attach(bridge, &device->loop, device->config.vduse, on_lost, device, why))
			goto stop_serving;
		device->bridge = bridge;
		return 0;
	}
	fd = open_socket(device, why);
	if (fd < 0)
		goto stop_serving;
	if (bridge_serve(bridge, &device->loop, fd, why))
		goto close_fd;
	device->bridge = bridge;
	return 0;

close_fd:
	close(fd);
	socket_remove(&device->socket);
stop_serving:
	device->serving = false;
	return -1;
}

/* Before a server hears of us: it would take us for the successor of whoever serves there. */
static int check_socket(const struct device *device, char why[BRIDGE_WHY_SIZE])
{
	const char *path = device->config.socket_path;
	char reason[256];

	if (!path || socket_check(path, reason, sizeof(reason)) == 0)
		return 0;
	snprintf(why, BRIDGE_WHY_SIZE, "%.200s: %s", path, reason);
	return -1;
}

static int begin(struct device *device, char why[BRIDGE_WHY_SIZE])
{
	struct bridge *bridge;

	if (check_socket(device, why) || bridge_new(&device->bridge_config, &bridge, why))
		return -1;
	if (serve(device, bridge, why) == 0)
		return 0;
	bridge_free(bridge);
	return -1;
}

static void tell_failure(struct device *device, const char *why)
{
	if (strcmp(device->told, why) == 0)
		return;
	snprintf(device->told, sizeof(device->told), "%s", why);
	log_error("%s%s", why, device->patient ? "; trying again" : "");
}

/* -- the thread --------------------------------------------------------------------------------------------------- */

static void on_retry(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	struct device *device = watcher->data;

	(void)ev;
	(void)revents;
	loop_stop(&device->loop);
}

/* Letters are read meanwhile. */
static void wait_a_while(struct device *device)
{
	ev_timer_set(&device->on_retry, DEVICE_RETRY_S, 0.);
	ev_timer_start(device->loop.ev, &device->on_retry);
	loop_run(&device->loop);
	ev_timer_stop(device->loop.ev, &device->on_retry);
}

/* Returns whether it serves. */
static bool begin_at_last(struct device *device)
{
	char why[BRIDGE_WHY_SIZE];

	while (!device->stopping && begin(device, why)) {
		tell_failure(device, why);
		if (!device->patient) {
			device->failed = true;
			return false;
		}
		wait_a_while(device);
	}
	return device->serving;
}

static void *run(void *arg)
{
	struct device *device = arg;

	log_name_thread(device->config.name);
	while (begin_at_last(device)) {
		tell_ready(device);
		loop_run(&device->loop);
		if (!device->lost)
			break;
		device->serving = false;
		device->failed = !device->patient;
		if (device->failed)
			break;
		wait_a_while(device);
	}
	loop_post(device->owner.main, &device->end);
	return NULL;
}

static void read_stop(struct mail *mail)
{
	struct device *device = container_of(mail, struct device, stop);

	socket_remove(&device->socket);
	/* One that is lost is being stopped. */
	if (device->bridge && !device->lost)
		bridge_stop(device->bridge, on_stopped, device);
	else if (!device->bridge)
		loop_stop(&device->loop);
}

static void read_look(struct mail *mail)
{
	struct device *device = container_of(mail, struct device, look);

	device->look_posted = false;
	if (device->bridge && !device->stopping)
		bridge_look(device->bridge);
}

/* -- from the main loop ------------------------------------------------------------------------------------------- */

static void read_end(struct mail *mail)
{
	struct device *device = container_of(mail, struct device, end);

	device->owner.ended(device, device->owner.arg);
}

void device_look(struct device *device)
{
	if (!atomic_exchange(&device->look_posted, true))
		loop_post(&device->loop, &device->look);
}

void device_stop(struct device *device)
{
	if (!atomic_exchange(&device->stopping, true))
		loop_post(&device->loop, &device->stop);
}

bool device_is_stopping(const struct device *device)
{
	return device->stopping;
}

bool device_is_serving(const struct device *device)
{
	return device->serving;
}

bool device_has_failed(const struct device *device)
{
	return device->failed;
}

const struct device_config *device_config_of(const struct device *device)
{
	return &device->config;
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static void set_up(struct device *device)
{
	const struct device_config *config = &device->config;

	if (config->vduse)
		snprintf(device->vduse_place, sizeof(device->vduse_place), VDUSE_FOLDER "%s", config->vduse);
	device->bridge_config = (struct bridge_config){
		.uri = config->uri,
		.num_queues = device_config_queues(config),
		.threads = config->threads,
		.connections = config->connections ? config->connections : 1,
		.serial = config->serial,
		.replay_bytes = config->replay_bytes,
		.place = config->vduse ? device->vduse_place : config->socket_path,
		.readonly = config->readonly,
	};
	device->look.read = read_look;
	device->stop.read = read_stop;
	device->end.read = read_end;
	ev_timer_init(&device->on_retry, on_retry, 0., 0.);
	device->on_retry.data = device;
}

int device_new(const struct device_config *config, bool patient, const struct device_owner *owner,
	struct device **out)
{
	struct device *device = calloc(1, sizeof(*device));
	int error;

	if (!device)
		return -ENOMEM;
	error = device_config_copy(&device->config, config);
	if (error)
		goto free_device;
	error = loop_init(&device->loop, false);
	if (error)
		goto free_config;
	device->patient = patient;
	device->owner = *owner;
	set_up(device);
	error = thread_start(&device->thread, run, device);
	if (error)
		goto free_loop;
	*out = device;
	return 0;

free_loop:
	loop_fini(&device->loop);
free_config:
	device_config_fini(&device->config);
free_device:
	free(device);
	return error;
}

void device_free(struct device *device)
{
	pthread_join(device->thread, NULL);
	loop_fini(&device->loop);
	device_config_fini(&device->config);
	free(device);
}
