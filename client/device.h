/* client/device.h -- one disk from its configuration to its end, on a thread of its own.
 *
 * Connecting to a server that is away, name service, a VMM that does odd things: whatever takes its time or goes wrong
 * here is this device's alone. Lines in the log begin with its name, if it has one.
 *
 *   connect -> socket -> serve -> (device_stop()) -> ended
 *      ^---- failed, patient ---|
 *
 * Threads: device_*() belong to the main loop's.
 */
#pragma once

#include "client/device_config.h"
#include "conf/loop.h"

/* Between two tries to begin, of a patient device. */
#define DEVICE_RETRY_S 5.

struct device;

struct device_owner {
	struct loop *main; /* borrowed: outlives the device */
	/* Runs on the main loop: its thread is about to end, for device_free(). */
	void (*ended)(struct device *device, void *arg);
	void *arg;
};

/* device_new() - begin.
 * @patient: whatever keeps it from serving is told and tried again; otherwise it is told, and the device ends.
 * Returns 0; -ENOMEM, or -errno of the thread or its loop. */
int device_new(const struct device_config *config, bool patient, const struct device_owner *owner,
	struct device **out);

/* What it was made from. */
const struct device_config *device_config_of(const struct device *device);

/* device_look() - ask the server at once whether the export has another size. */
void device_look(struct device *device);

/* device_stop() - no more VMM, the requests in flight end, ended() follows. It takes as long as the server does. More
 * than once is harmless. */
void device_stop(struct device *device);

bool device_is_stopping(const struct device *device);

/* Whether a socket, or requests of a guest, may be there to be looked after. */
bool device_is_serving(const struct device *device);

/* Whether it ended because it could not begin. */
bool device_has_failed(const struct device *device);

/* Only after ended(). */
void device_free(struct device *device);
