/* conf/control.c -- connections of operators on the main loop: lines in, calls, lines out.
 *
 * C1  A connection is freed when it is closed and none of its calls is left: an answer always finds it.
 * C2  in holds one line at most, calls are CONTROL_CALLS_MAX at most, and out CONTROL_REPLY_MAX bytes of results.
 * C3  While a connection has not taken its replies, none of its lines is looked at. */
#include "conf/control.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/control_line.h"
#include "conf/log.h"
#include "conf/socket.h"

/* How long we do not accept after the system ran out of descriptors or memory, seconds. */
#define ACCEPT_PAUSE_S 0.2

struct connection {
	struct connection *next, **link; /* in control; link NULL: closed */
	struct control *control;	 /* borrowed; NULL: closed */
	int fd;				 /* owned; -1: closed */
	ev_io on_ready;
	unsigned calls; /* whose answers are missing */
	bool busy;	/* in advance(), which frees it itself */
	bool ended;	/* the controller sends nothing more, or nothing more of it is read */
	bool broken;	/* nothing can be sent */
	size_t in_length;
	char *out; /* owned */
	size_t out_length, out_sent;
	char in[CONTROL_LINE_MAX];
};

struct control_call {
	struct connection *connection; /* borrowed: C1 */
	struct control_request request;
};

struct table {
	const struct control_command *commands; /* borrowed: the daemon's */
	void *context;
};

struct control {
	struct loop *loop; /* borrowed: outlives us */
	int fd;		   /* owned */
	ev_io on_controller;
	ev_timer on_pause_over;
	struct socket_path made;
	char *path; /* owned */
	struct connection *first;
	unsigned connections, tables;
	struct table table[CONTROL_TABLES_MAX];
};

/* -- connections -------------------------------------------------------------------------------------------------- */

/* C1 */
static void free_if_done(struct connection *connection)
{
	if (connection->control || connection->calls > 0 || connection->busy)
		return;
	free(connection->out);
	free(connection);
}

static void close_connection(struct connection *connection)
{
	struct control *control = connection->control;

	ev_io_stop(control->loop->ev, &connection->on_ready);
	close(connection->fd);
	if (connection->next)
		connection->next->link = connection->link;
	*connection->link = connection->next;
	control->connections--;
	connection->control = NULL;
	free_if_done(connection);
}

static void wait_for(struct connection *connection, int events)
{
	struct ev_loop *ev = connection->control->loop->ev;

	if (ev_is_active(&connection->on_ready) &&
		(connection->on_ready.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(ev, &connection->on_ready);
	ev_io_set(&connection->on_ready, connection->fd, events);
	if (events)
		ev_io_start(ev, &connection->on_ready);
}

/* @line, which may be NULL for want of memory, is taken over: a controller that misses a reply must not wait for it. */
static void queue(struct connection *connection, char *line, size_t length)
{
	char *more = line ? realloc(connection->out, connection->out_length + length) : NULL;

	if (more) {
		memcpy(more + connection->out_length, line, length);
		connection->out = more;
		connection->out_length += length;
	} else {
		connection->broken = true;
	}
	free(line);
}

static void queue_error(struct connection *connection, json_t *id, const char *why)
{
	size_t length = 0;
	char *line = control_error_line(id, why, &length);

	queue(connection, line, length);
}

/* Sends what waits, as far as the socket takes it. */
static void flush(struct connection *connection)
{
	while (connection->out_sent < connection->out_length && !connection->broken) {
		ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
			connection->out_length - connection->out_sent, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent >= 0)
			connection->out_sent += (size_t)sent;
		else if (errno != EINTR)
			connection->broken = true;
	}
	free(connection->out);
	connection->out = NULL;
	connection->out_length = connection->out_sent = 0;
}

/* -- calls -------------------------------------------------------------------------------------------------------- */

static void end_call(struct control_call *call)
{
	struct connection *connection = call->connection;

	connection->calls--;
	control_request_fini(&call->request);
	free(call);
	/* advance() does the rest, when this turn has come to an end. */
	if (connection->control)
		wait_for(connection, EV_WRITE);
	else
		free_if_done(connection);
}

static void refuse(struct control_call *call, const char *why)
{
	if (call->connection->control)
		queue_error(call->connection, call->request.id, why);
	end_call(call);
}

void control_answer(struct control_call *call, json_t *result)
{
	struct connection *connection = call->connection;
	size_t length = 0;
	char *line;

	if (!connection->control) {
		json_decref(result);
		end_call(call);
		return;
	}
	line = control_reply_line(call->request.id, result ? result : json_object(), &length);
	if (line && connection->out_length + length > CONTROL_REPLY_MAX) {
		free(line);
		refuse(call, "the answer is too long, with those before it that were not read");
		return;
	}
	queue(connection, line, length);
	end_call(call);
}

void control_refuse(struct control_call *call, const char *format, ...)
{
	char why[CONTROL_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	refuse(call, why);
}

static const struct control_command *find(
	const struct control *control, const char *name, const struct table **table)
{
	for (*table = control->table; *table < control->table + control->tables; (*table)++)
		for (const struct control_command *row = (*table)->commands; row->name; row++)
			if (strcmp(row->name, name) == 0)
				return row;
	return NULL;
}

static void dispatch(struct control *control, struct control_call *call)
{
	const struct table *table;
	const struct control_command *command = find(control, call->request.command, &table);
	char shown[128];

	if (command)
		command->run(table->context, call, call->request.arguments);
	else
		control_refuse(call, "there is no command '%s'; 'help' lists those that there are",
			log_quote(
				shown, sizeof(shown), call->request.command, strlen(call->request.command)));
}

static void take_line(struct connection *connection, const char *line, size_t length)
{
	struct control_call *call = calloc(1, sizeof(*call));
	char why[CONTROL_WHY_SIZE];

	if (!call) {
		connection->broken = true;
		return;
	}
	call->connection = connection;
	connection->calls++;
	if (control_request_parse(line, length, &call->request, why))
		refuse(call, why);
	else
		dispatch(connection->control, call);
}

/* C2, C3 */
static bool may_take(const struct connection *connection)
{
	return connection->control && !connection->broken && connection->out_length == 0 &&
	       connection->calls < CONTROL_CALLS_MAX;
}

static char *next_newline(struct connection *connection)
{
	return memchr(connection->in, '\n', connection->in_length);
}

/* One a turn: the loop has more to do than this. */
static void take_next_line(struct connection *connection)
{
	char *newline = may_take(connection) ? next_newline(connection) : NULL;
	size_t length;

	if (!newline)
		return;
	length = (size_t)(newline - connection->in);
	take_line(connection, connection->in, length);
	connection->in_length -= length + 1;
	memmove(connection->in, newline + 1, connection->in_length);
}

/* Where the next line begins is not known any more. */
static void refuse_long_line(struct connection *connection)
{
	char why[64];

	snprintf(why, sizeof(why), "a line has up to %u bytes", CONTROL_LINE_MAX);
	queue_error(connection, NULL, why);
	connection->ended = true;
	connection->in_length = 0;
}

/* What to wait for; 0: an answer. */
static int events_of(struct connection *connection)
{
	if (connection->out_length > 0)
		return EV_WRITE;
	if (connection->calls == CONTROL_CALLS_MAX)
		return 0;
	if (next_newline(connection))
		return EV_WRITE;
	return connection->ended ? 0 : EV_READ;
}

/* May free @connection. */
static void advance(struct connection *connection)
{
	int events;

	connection->busy = true;
	flush(connection);
	take_next_line(connection);
	if (connection->control)
		flush(connection);
	if (may_take(connection) && connection->in_length == CONTROL_LINE_MAX && !next_newline(connection))
		refuse_long_line(connection);
	connection->busy = false;
	if (!connection->control) {
		free_if_done(connection);
		return;
	}
	events = events_of(connection);
	if (connection->broken || (connection->ended && connection->calls == 0 && events == 0))
		close_connection(connection);
	else
		wait_for(connection, events);
}

static void receive(struct connection *connection)
{
	ssize_t got = recv(connection->fd, connection->in + connection->in_length,
		CONTROL_LINE_MAX - connection->in_length, 0);

	if (got > 0)
		connection->in_length += (size_t)got;
	else if (got == 0)
		connection->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		connection->broken = true;
}

static void on_ready(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct connection *connection = watcher->data;

	(void)ev;
	loop_assert_mine(connection->control->loop);
	if (events & EV_READ)
		receive(connection);
	advance(connection);
}

/* -- the socket --------------------------------------------------------------------------------------------------- */

static void start_connection(struct control *control, int fd)
{
	struct connection *connection = malloc(sizeof(*connection));

	if (!connection) {
		close(fd);
		return;
	}
	memset(connection, 0, offsetof(struct connection, in));
	connection->control = control;
	connection->fd = fd;
	connection->next = control->first;
	connection->link = &control->first;
	if (connection->next)
		connection->next->link = &connection->next;
	control->first = connection;
	control->connections++;
	ev_io_init(&connection->on_ready, on_ready, fd, EV_READ);
	connection->on_ready.data = connection;
	ev_io_start(control->loop->ev, &connection->on_ready);
	if (control->connections <= CONTROL_CONNECTIONS_MAX)
		return;
	queue_error(connection, NULL, "there are too many controllers");
	flush(connection);
	close_connection(connection);
}

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
		start_connection(control, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		ev_io_stop(ev, &control->on_controller);
		ev_timer_set(&control->on_pause_over, ACCEPT_PAUSE_S, 0);
		ev_timer_start(ev, &control->on_pause_over);
	}
}

/* -- help --------------------------------------------------------------------------------------------------------- */

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
	control->loop = loop;
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
	struct connection *next;

	if (!control)
		return;
	ev_io_stop(control->loop->ev, &control->on_controller);
	ev_timer_stop(control->loop->ev, &control->on_pause_over);
	for (struct connection *connection = control->first; connection; connection = next) {
		next = connection->next;
		close_connection(connection);
	}
	socket_remove(&control->made);
	close(control->fd);
	free(control->path);
	free(control);
}
