/* conf/control.c -- the control socket: who is let in, and which commands there are. */
#include "conf/control.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/controller.h"
#include "conf/log.h"
#include "conf/socket.h"

/* How long we do not accept after the system ran out of descriptors or memory, seconds. */
#define ACCEPT_PAUSE_S 0.2

struct table {
	const struct control_command *commands; /* borrowed: the daemon's */
	void *context;
};

struct control {
	struct controllers controllers;
	int fd; /* owned */
	ev_io on_controller;
	ev_timer on_pause_over;
	struct socket_path made;
	char *path; /* owned */
	unsigned tables;
	struct table table[CONTROL_TABLES_MAX];
};

/* -- the socket --------------------------------------------------------------------------------------------------- */

static void on_pause_over(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct control *control = timer->data;

	(void)events;
	ev_io_start(ev, &control->on_controller);
}

static void on_controller(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct control *control = watcher->data;
	int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		controllers_add(&control->controllers, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		ev_io_stop(ev, &control->on_controller);
		ev_timer_set(&control->on_pause_over, ACCEPT_PAUSE_S, 0);
		ev_timer_start(ev, &control->on_pause_over);
	}
}

/* -- commands ----------------------------------------------------------------------------------------------------- */

static const struct control_command *find(
	const struct control *control, const char *name, const struct table **table)
{
	for (*table = control->table; *table < control->table + control->tables; (*table)++)
		for (const struct control_command *row = (*table)->commands; row->name; row++)
			if (strcmp(row->name, name) == 0)
				return row;
	return NULL;
}

static void dispatch(
	struct controllers *controllers, struct control_call *call, const char *name, const json_t *arguments)
{
	const struct table *table;
	const struct control_command *command =
		find(container_of(controllers, struct control, controllers), name, &table);
	char shown[128];

	if (command)
		command->run(table->context, call, arguments);
	else
		control_refuse(call, "there is no command '%s'; 'help' lists those that there are",
			log_quote(shown, sizeof(shown), name, strlen(name)));
}

static void help(void *context, struct control_call *call, const json_t *arguments)
{
	const struct control *control = context;
	json_t *list;

	if (!control_take(call, arguments, NULL, NULL))
		return;
	list = json_array();
	for (const struct table *table = control->table; table < control->table + control->tables; table++)
		for (const struct control_command *row = table->commands; row->name; row++)
			json_array_append_new(list, json_pack("{ssssss}", "command", row->name, "arguments",
							    row->arguments, "help", row->help));
	control_answer(call, list);
}

static const struct control_command own_commands[] = {
	{ "help", "", "What commands there are.", help },
	{ 0 },
};

/* -- all of it ---------------------------------------------------------------------------------------------------- */

static const char *path_of(const char *address)
{
	static const char prefix[] = "unix:";

	return strncmp(address, prefix, sizeof(prefix) - 1) == 0 ? address + sizeof(prefix) - 1 : NULL;
}

static int listen_at(struct control *control, const char *path, char *why, size_t why_size)
{
	int prefix = snprintf(why, why_size, "unix:%s: ", path);

	if ((size_t)prefix >= why_size)
		prefix = 0;
	control->path = strdup(path);
	if (!control->path) {
		snprintf(why + prefix, why_size - (size_t)prefix, "out of memory");
		return -1;
	}
	control->fd =
		socket_listen(control->path, 0600, &control->made, why + prefix, why_size - (size_t)prefix);
	return control->fd < 0 ? -1 : 0;
}

int control_open(struct loop *loop, const char *address, struct control **out, char *why, size_t why_size)
{
	const char *path = path_of(address);
	struct control *control;

	if (!path) {
		snprintf(why, why_size, "%s: a control socket is unix:PATH", address);
		return -1;
	}
	control = calloc(1, sizeof(*control));
	if (!control) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	if (listen_at(control, path, why, why_size)) {
		free(control->path);
		free(control);
		return -1;
	}
	control->controllers = (struct controllers){ .loop = loop, .dispatch = dispatch };
	ev_io_init(&control->on_controller, on_controller, control->fd, EV_READ);
	control->on_controller.data = control;
	ev_timer_init(&control->on_pause_over, on_pause_over, ACCEPT_PAUSE_S, 0);
	control->on_pause_over.data = control;
	ev_io_start(loop->ev, &control->on_controller);
	control_register(control, own_commands, control);
	*out = control;
	return 0;
}

void control_register(struct control *control, const struct control_command *commands, void *context)
{
	assert(control->tables < CONTROL_TABLES_MAX);
	control->table[control->tables++] = (struct table){ commands, context };
}

void control_close(struct control *control)
{
	struct ev_loop *ev;

	if (!control)
		return;
	ev = control->controllers.loop->ev;
	ev_io_stop(ev, &control->on_controller);
	ev_timer_stop(ev, &control->on_pause_over);
	controllers_close(&control->controllers);
	socket_remove(&control->made);
	close(control->fd);
	free(control->path);
	free(control);
}
