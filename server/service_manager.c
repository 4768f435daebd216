/* server/service_manager.c -- libsystemd's functions, one lookup each. */
#include "server/service_manager.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "conf/log.h"

#define LIBRARY "libsystemd.so.0"

static struct {
	bool tried;
	__typeof__(sd_listen_fds_with_names) *sockets;
	__typeof__(sd_notify) *notify;
	__typeof__(sd_watchdog_enabled) *watchdog;
} systemd; /* kept until the process ends */

static void *find(void *library, const char *name)
{
	void *function = library ? dlsym(library, name) : NULL;

	if (!function)
		log_warning("cannot talk to systemd, which has started us: %s", dlerror());
	return function;
}

static void load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	*(void **)&systemd.sockets = find(library, "sd_listen_fds_with_names");
	if (!library)
		return;
	*(void **)&systemd.notify = find(library, "sd_notify");
	*(void **)&systemd.watchdog = find(library, "sd_watchdog_enabled");
}

/* Loads it once, if systemd has set @variable. */
static void need(const char *variable)
{
	if (systemd.tried || !getenv(variable))
		return;
	systemd.tried = true;
	load();
}

int service_sockets(char ***names)
{
	*names = NULL;
	need("LISTEN_FDS");
	if (!getenv("LISTEN_FDS"))
		return 0;
	return systemd.sockets ? systemd.sockets(1, names) : -ELIBACC;
}

void service_notify(const char *state)
{
	need("NOTIFY_SOCKET");
	if (systemd.notify)
		systemd.notify(0, state);
}

uint64_t service_watchdog_us(void)
{
	uint64_t expected_us = 0;

	need("WATCHDOG_USEC");
	if (systemd.watchdog && systemd.watchdog(1, &expected_us) > 0)
		return expected_us;
	return 0;
}
