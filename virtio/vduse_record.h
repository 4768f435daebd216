/* virtio/vduse_record.h -- the record of the requests in flight of a VDUSE device, in a file that outlives us. */
#pragma once

#include <stdbool.h>

#include "virtio/inflight.h"

/* vduse_record_open() - the record of device @name with rings of @ring_size.
 * @again: as the last process left it, otherwise an empty one.
 * Returns 0, or -errno and the reason in @why: -ENOENT: nobody left one of that many rings. */
int vduse_record_open(const char *name, unsigned ring_count, unsigned ring_size, bool again,
	struct inflight **out, const char **why);

/* vduse_record_remove() - its device is no more. */
void vduse_record_remove(const char *name);
