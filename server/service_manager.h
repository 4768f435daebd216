/* server/service_manager.h -- what systemd hands over and wants to hear, where it has started us.
 *
 * libsystemd is loaded when the environment asks for it: with what it needs in turn it takes a tenth of the time that
 * the server needs to start. Where it cannot be loaded then, the log says so.
 *
 * On the main thread.
 */
#pragma once

#include <stdint.h>

/* service_sockets() - how many open sockets are ours, from SD_LISTEN_FDS_START on, and their names. The environment does not tell a
 * second time. @names: the caller's to free, each and all; NULL: there are none.
 * Returns how many, or -errno: the environment makes no sense. Spec: sd_listen_fds_with_names(3). */
int service_sockets(char ***names);

/* service_notify() - "READY=1" and the like. Spec: sd_notify(3). */
void service_notify(const char *state);

/* service_watchdog_us() - how often, in microseconds, "WATCHDOG=1" is expected; 0: never. Spec: sd_watchdog_enabled(3). */
uint64_t service_watchdog_us(void);
