/* virtio/notifier.h -- descriptors by which driver and device wake each other: eventfds, or whatever else a VMM has given us.
 * Nothing here waits. */
#pragma once

#include <stdbool.h>

/* Whether a write to @fd may wait for room. To change that is the VMM's right, whose reads it would change, too. */
bool notifier_blocks(int fd);

/* notifier_signal() - @fd: -1: nobody is there. @may_block: as notifier_blocks() has said. */
void notifier_signal(int fd, bool may_block);

/* Whether signals that nobody reads fill it up: a pipe or a socket; an eventfd only counts.
 * Spec: vhost-user, "Support for platforms other than Linux". */
bool notifier_fills(int fd);

/* notifier_empty() - take all signals out of @fd, which does not block. */
void notifier_empty(int fd);
